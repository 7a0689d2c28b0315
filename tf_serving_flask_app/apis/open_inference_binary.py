"""The binary tensor data extension: tensors as bytes behind the JSON, row by row.

They are little-endian, as every machine is that TensorFlow is published for.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

import numpy as np

from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.tensors import Array, TensorInfo

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
"""The header that says how many bytes of a body are JSON; the rest are tensors."""

NUMBER = re.compile(r"[0-9]{1,18}")
MOST_EMPTY = 1 << 31
"""What the sizes of an empty tensor beside its 0 may multiply to."""

STRING_LENGTH = struct.Struct("<I")


def split_body(body: bytes, json_length: str | None) -> tuple[bytes, memoryview]:
    """Part a body into its JSON and the tensors behind it.

    Args:
        body: decompressed.
        json_length: the header; None where there is none: all of the body is JSON.

    Raises:
        InvalidInput: the header is no number, or more than the body holds.
    """
    if json_length is None:
        return body, memoryview(b"")
    if not NUMBER.fullmatch(json_length) or int(json_length) > len(body):
        raise InvalidInput(
            f"inference header size should be in range (0, {len(body)}), got: {json_length[:40]}; send the number of"
            f" bytes of the JSON as {JSON_LENGTH_HEADER}."
        )
    length = int(json_length)
    return body[:length], memoryview(body)[length:]


def array_from_bytes(data: memoryview, info: TensorInfo, shape: tuple[int, ...], model: str) -> Array:
    """Read a tensor where it lies; numbers are not copied, and cannot be written to.

    Args:
        data: all of the tensor's bytes.
        info: its name and type; the type is one that the protocol has.
        shape: what the client says.
        model: for the error's text.

    Raises:
        InvalidInput: bytes and shape do not go together.
    """
    count = math.prod(shape)
    if info.dtype == object:
        return reshaped(_strings_from_bytes(data, count, info.name), shape, info.name)
    if len(data) != count * info.dtype.itemsize:
        raise InvalidInput(
            f"input byte size mismatch for input {info.name!r} for model {model!r}. Expected"
            f" {count * info.dtype.itemsize}, got {len(data)}"
        )
    if info.dtype == bool and count and int(np.frombuffer(data, np.uint8).max()) > 1:
        raise InvalidInput(f"input {info.name!r} of type BOOL takes bytes of 0 and 1 only")
    return reshaped(np.frombuffer(data, info.dtype), shape, info.name)


def array_to_bytes(array: Array) -> bytearray | memoryview:
    """Write a tensor; of numbers that lie row by row already, a view."""
    if array.dtype == object:
        written = bytearray()  # not joined of parts, which of short strings take many times the memory
        for item in array.reshape(-1):
            written += STRING_LENGTH.pack(len(item))
            written += item
        return written
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def reshaped(array: Array, shape: tuple[int, ...], name: str) -> Array:
    """Give an array of the right size its shape.

    Raises:
        InvalidInput: the array is empty, and its other sizes are beyond what any array needs; models and NumPy would
            take memory for them.
    """
    if not array.size and math.prod(size for size in shape if size) > MOST_EMPTY:
        raise InvalidInput(f"input {name!r} is empty and cannot have the shape {list(shape)}: send smaller sizes")
    return array.reshape(shape)


def _strings_from_bytes(data: memoryview, count: int, name: str) -> Array:
    """Read strings, each behind its length of 4 bytes."""
    strings: list[bytes] = []
    offset, end = 0, len(data)
    while offset < end and len(strings) <= count:
        start = offset + STRING_LENGTH.size
        if start > end:
            raise InvalidInput(
                f"incomplete string length indicator for inference input {name!r}, expecting {STRING_LENGTH.size} bytes"
                f" but only {end - offset} bytes available"
            )
        (length,) = STRING_LENGTH.unpack_from(data, offset)
        offset = start + length
        if offset > end:
            raise InvalidInput(
                f"incomplete string data for inference input {name!r}, expecting string of length {length} but only"
                f" {end - start} bytes available"
            )
        strings.append(bytes(data[start:offset]))
    if len(strings) != count:
        found = f"{count + 1} or more" if len(strings) > count else len(strings)
        raise InvalidInput(
            f"unexpected number of string elements {found} for inference input {name!r}, expecting {count}"
        )
    array: np.ndarray[Any, Any] = np.empty(count, dtype=object)
    array[:] = strings
    return array
