"""Label maps of the Object Detection API: ``.pbtxt`` files that name class ids.

https://github.com/tensorflow/models/blob/master/research/object_detection/protos/string_int_label_map.proto
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tf_serving_flask_app.errors import ConfigurationError


def read_label_map(path: Path) -> dict[int, str]:
    """Read a label map with protobuf's own parser: class id -> its ``display_name``, else its ``name``.

    Ids may begin anywhere and have gaps; fields that a label map may have besides are passed over.

    Raises:
        ConfigurationError: the file cannot be read, is no label map, or gives an id twice, or none, or no name.
    """
    from google.protobuf import text_format

    label_map = _message_class()()
    try:
        text_format.Parse(path.read_bytes().decode("utf-8-sig"), label_map, allow_unknown_field=True)
    except OSError as exc:
        raise ConfigurationError(f"{path}: the label map cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path}: not UTF-8 text; save the file as UTF-8.") from exc
    except text_format.ParseError as exc:
        raise ConfigurationError(f"{path}: not a label map (item {{ id: 1 name: 'cat' }}): {exc}.") from exc
    names: dict[int, str] = {}
    for number, item in enumerate(label_map.item, start=1):
        name = item.display_name or item.name
        if not item.HasField("id") or not name or item.id < 0:
            raise ConfigurationError(
                f"{path}: item {number} needs an id from 0 and a name (item {{ id: 1 name: 'cat' }})."
            )
        if item.id in names:
            raise ConfigurationError(f"{path}: id {item.id} is {names[item.id]!r} already; give each id once.")
        names[item.id] = name
    if not names:
        raise ConfigurationError(f"{path}: the label map names no class; write item {{ id: 1 name: 'cat' }}.")
    return names


def _message_class() -> Any:
    """Make the message type; protobuf takes its definition at run time as well as from a compiled file."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", package="label_map", syntax="proto2")
    item = file.message_type.add(name="Item")
    for number, name, kind in (
        (1, "name", field.TYPE_STRING),
        (2, "id", field.TYPE_INT32),
        (3, "display_name", field.TYPE_STRING),
    ):
        item.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    items = file.message_type.add(name="LabelMap").field
    items.add(name="item", number=1, type=field.TYPE_MESSAGE, type_name=".label_map.Item", label=field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("label_map.LabelMap"))
