"""JSON text with large lists of numbers: its values are those of Python's own parser, its faults those of orjson."""

from __future__ import annotations

import json
import math
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_serving_flask_app import json_arrays
from tf_serving_flask_app.json_arrays import JsonError, parse_json, parse_json_prefix

FEW = settings(max_examples=150, deadline=None, derandomize=True, database=None)
SHORT = settings(FEW, max_examples=60)

INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.one_of(
    st.lists(INTEGERS, min_size=12, max_size=12),
    st.lists(st.integers(-300, 300), min_size=12, max_size=12),
    st.lists(FLOATS, min_size=12, max_size=12),
    st.lists(st.one_of(FLOATS, st.integers(-300, 300), st.just(-0.0)), min_size=12, max_size=12),
)
SHAPES = st.sampled_from([(12,), (1, 12), (3, 4), (2, 3, 2), (12, 1), (1, 1, 12, 1), (2, 2, 3)])
SCALARS = st.one_of(
    st.none(), st.booleans(), INTEGERS, FLOATS, st.text(), st.sampled_from(['"[1,2]"', "[[", "\\", '\\"'])
)


def nest(numbers: list[Any], shape: tuple[int, ...]) -> Any:
    """The numbers as lists of that shape, each of the type that it is."""
    if len(shape) == 1:
        return numbers
    step = len(numbers) // shape[0]
    return [nest(numbers[at : at + step], shape[1:]) for at in range(0, len(numbers), step)]


TENSORS = st.builds(nest, NUMBERS, SHAPES)
DOCUMENTS = st.recursive(
    st.one_of(SCALARS, TENSORS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8,
)
STYLES = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "indent": st.sampled_from([None, 0, 1, "\t"]),
        "separators": st.sampled_from([None, (",", ":"), (" \r\n, ", "\t: ")]),
    }
)


@pytest.fixture(autouse=True, scope="module")
def _short_lists_count_as_long() -> Any:
    """So that small documents go all the ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "SHORTEST_BYTES", 8)
        yield


def plain(value: Any) -> Any:
    """The same with lists in place of arrays; fails where an array is of the wrong type."""
    if isinstance(value, np.ndarray):
        assert value.size
        return value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def as_parsed(value: Any, expected: Any) -> Any:
    """What is expected, where the parser made an array: all numbers of the one type that holds them."""
    if isinstance(value, np.ndarray):
        leaves = [type(leaf) for leaf in np.array(expected, dtype=object).reshape(value.shape).flat]
        assert set(leaves) <= {int, float}
        if set(leaves) == {int}:
            assert value.dtype == (np.int64 if np.array(expected, dtype=object).max() < 2**63 else np.uint64)
            return expected
        assert value.dtype == np.float64
        return np.array(expected, dtype=np.float64).tolist()
    if isinstance(value, list):
        return [as_parsed(*pair) for pair in zip(value, expected, strict=True)]
    if isinstance(value, dict):
        return {key: as_parsed(item, expected[key]) for key, item in value.items()}
    return expected


@given(document=DOCUMENTS, style=STYLES)
@FEW
def test_values_are_those_of_pythons_parser(document: Any, style: dict[str, Any]) -> None:
    text = json.dumps(document, **style).encode()
    value = parse_json(text)

    assert repr(plain(value)) == repr(as_parsed(value, json.loads(text)))


@given(numbers=NUMBERS, shape=SHAPES, style=STYLES, key=st.text())
@SHORT
def test_a_tensor_of_one_type_becomes_an_array(
    numbers: list[Any], shape: tuple[int, ...], style: dict[str, Any], key: str
) -> None:
    (tensor,) = parse_json(json.dumps({key: nest(numbers, shape)}, **style).encode()).values()

    fits = all(type(number) is int and -(2**63) <= number < 2**63 for number in numbers) or any(
        type(number) is float for number in numbers
    )
    if fits:
        assert isinstance(tensor, np.ndarray)
        assert tensor.shape == shape
        assert repr(tensor.ravel().tolist()) == repr(np.array(numbers).tolist())


@given(document=DOCUMENTS, data=st.data())
@FEW
def test_a_broken_document_is_refused_where_orjson_refuses_it(document: Any, data: st.DataObject) -> None:
    text = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(text)))
        text[place : place + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(list(map(bytes, BREAKS))))
    fault = fault_of(orjson.loads, bytes(text))

    assert fault_of(parse_json, bytes(text)) == fault
    if fault is None:
        value = parse_json(bytes(text))
        assert repr(plain(value)) == repr(as_parsed(value, orjson.loads(text)))


def fault_of(parse: Callable[[bytes], Any], text: bytes) -> tuple[str, int | None] | None:
    """What is wrong with a text, and where in bytes, in orjson's words or ours; None where nothing is."""
    try:
        parse(text)
    except orjson.JSONDecodeError as error:
        if not text.strip():
            return "The document is empty", None
        if "UTF-8" in error.msg:
            return "The text is not UTF-8", len(text.decode(errors="surrogateescape").split(NOT_UTF8)[0].encode())
        return error.msg, len(error.doc[: error.pos].encode())
    except JsonError as error:
        return error.reason, error.offset
    return None


NOT_UTF8 = b"\xff".decode(errors="surrogateescape")
BREAKS = (
    b"",
    b"[",
    b"]",
    b",",
    b'"',
    b"\\",
    b"{",
    b"}",
    b":",
    b"1",
    b"-",
    b".",
    b"e",
    b" ",
    b"\xff",
    b"true",
    b"[1,2,3,4]",
)


@given(
    document=st.recursive(TENSORS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner))),
    style=STYLES,
    rest=st.one_of(st.binary(), st.sampled_from([b"", b"]", b"}", b"[1", b"{}", b"\xff", b'"'])),
)
@SHORT
def test_what_follows_the_first_document_is_ignored_if_asked(document: Any, style: dict[str, Any], rest: bytes) -> None:
    text = json.dumps(document, **style).encode()

    assert repr(parse_json_prefix(text + rest)) == repr(parse_json(text))


@given(numbers=NUMBERS, shape=SHAPES, data=st.data())
@SHORT
def test_numbers_that_are_not_finite_are_taken(numbers: list[Any], shape: tuple[int, ...], data: st.DataObject) -> None:
    special = st.sampled_from([math.nan, math.inf, -math.inf])
    places = data.draw(st.lists(st.tuples(st.integers(0, 11), special), min_size=1, max_size=4))
    numbers = list(map(float, numbers))
    for place, value in places:
        numbers[place] = value
    text = json.dumps({"NaN": "Infinity", "x": nest(numbers, shape), "y": [math.nan, "NaN"]}).encode()
    value = parse_json(text)

    assert isinstance(value["x"], np.ndarray)
    assert repr(value["x"].tolist()) == repr(nest(numbers, shape))
    assert repr((value["NaN"], value["y"])) == "('Infinity', [nan, 'NaN'])"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NaN", math.nan),
        ("[NaN]", [math.nan]),
        ("[-Infinity, 1]", [-math.inf, 1]),
        ('{"a": -Infinity, "b": "NaN"}', {"a": -math.inf, "b": "NaN"}),
        ('["a", NaN, [1, 2, 3, 4, 5], NaN]', ["a", math.nan, [1, 2, 3, 4, 5], math.nan]),
        ('["a", [1.5, 2, 3, 4, 5], NaN]', ["a", [1.5, 2, 3, 4, 5], math.nan]),
        ('[NaN, [1, 2, 3, 4, 5], "\\"", Infinity]', [math.nan, [1, 2, 3, 4, 5], '"', math.inf]),
        ("[[1, NaN, 2], [3, 4, NaN, 5]]", [[1, math.nan, 2], [3, 4, math.nan, 5]]),
        ("[NaN, 2.719338e-231, 1]", [math.nan, 2.719338e-231, 1]),
    ],
)
def test_names_of_numbers_are_known_everywhere(text: str, expected: Any) -> None:
    value = parse_json(text.encode())

    assert repr(plain(value)) == repr(as_parsed(value, expected))


@pytest.mark.parametrize(
    "text",
    [
        "{NaN: 1}",
        "{[1,2,3,4,5,6]: 1}",
        "[1NaN,2,3,4,5]",
        "[-NaN,2,3,4,5]",
        "[--Infinity,2,3,4]",
        "[NaNNaN,2,3,4]",
        "[NaN 1,2,3,4]",
        "[+Infinity,2,3,4]",
        "[nan,2,3,4,5,6]",
        "[Infinity,2,3,4,1e999]",
        '["\\ud800", NaN]',
        "[1,2,3,4,5][1,2,3,4]",
        "[1,2,3,4,5,6],",
        "1[1,2,3,4,5,6]",
        '"a"[1,2,3,4,5,6]',
        "[1,2,3,4,5,1e999]",
        "[01,2,3,4,5,6,7]",
        "[1,2,3,4,5,6,7",
        '["[1,2,3,4,5,6,7]',
    ],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(JsonError):
        parse_json(text.encode())


@pytest.mark.parametrize(
    ("text", "reason", "offset", "message"),
    [
        (b"", "The document is empty", None, "The document is empty"),
        (b" \n", "The document is empty", None, "The document is empty"),
        ('{"ä": [1,2,3,4,5,6,7], "b": x}'.encode(), "unexpected character", 29, "at offset 29"),
        (b'{"a": [1,2,3,4,5,6,7] x', "unexpected character", 22, "at offset 22"),
        (b'[NaN, "a", [1,2,3,4,5,6,7], NaN, x]', "unexpected character", 33, "at offset 33"),
        (b'{"x": [NaN, "a"], "y": [-NaN]}', "no digit after sign", 25, "at offset 25"),
        (b'[NaN, "NaN\\"NaN", Infinity Infinity]', "unexpected character", 27, "at offset 27"),
        (b'[NaN, 1, "Infinity', "unexpected end of data", 18, "at offset 18"),
        (b'{"a": "\xff"}', "The text is not UTF-8", 7, "The text is not UTF-8 at offset 7"),
        (b'{"a": [1,2,3,4,5,6,7,\xff]}', "The text is not UTF-8", 21, "at offset 21"),
    ],
)
def test_an_error_tells_what_is_wrong_and_where(text: bytes, reason: str, offset: int | None, message: str) -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(text)

    assert caught.value.reason.startswith(reason)
    assert caught.value.offset == offset
    assert message in str(caught.value)


@pytest.mark.parametrize("text", [b"", b" ", b"{", b"]", b'{"a": x} 1', b"[" * 3000, b"\xff[1]"])
def test_a_text_that_begins_with_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError):
        parse_json_prefix(text)


def test_a_document_before_a_very_long_integer_is_taken() -> None:
    assert parse_json_prefix(b"[1]" + b"9" * 5000) == [1]
    assert parse_json_prefix(b" [" + b"9" * 200 + b"] x") == [1e200]


@pytest.mark.parametrize("depth", [60, 64, 65, 900, 1500, 100_000])
@pytest.mark.parametrize("inner", ["1,2,3,4", '"a"', ""])
def test_any_depth_is_either_parsed_or_refused(depth: int, inner: str) -> None:
    text = ("[" * depth + inner + "]" * depth).encode()
    try:
        value = parse_json(text)
    except JsonError:
        assert depth > 1000
        return
    isarray = isinstance(value, np.ndarray)

    assert isarray is (depth <= 64 and inner == "1,2,3,4")
    if isarray:
        assert value.shape == (*(1,) * (depth - 1), 4)


@pytest.mark.parametrize(
    "text",
    [
        "[[1,2,3],[4,5],[6,7,8,9]]",
        "[[1,2],3,[4,5],6]",
        "[1,2,3,[4,5,6,7]]",
        "[[],[1,2,3,4,5]]",
        "[[1,2,3,4,5],[]]",
        "[[],[],[],[],[]]",
        "[[[1,2],[3,4]],[[5,6,7,8]]]",
        "[true,false,true]",
        "[1,2,3,4,5,true]",
        "[1,2,3,4,5,null]",
        '[1,2,3,4,5,"6"]',
        "[[1,2,3,4,5],{}]",
        "[9223372036854775808,-1]",
    ],
)
def test_a_list_that_is_not_all_numbers_in_equal_rows_stays_a_list(text: str) -> None:
    value = parse_json(text.encode())

    assert isinstance(value, list)
    assert repr(value) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("text", "dtype", "values"),
    [
        ("[-9223372036854775808,9223372036854775807]", "int64", [-(2**63), 2**63 - 1]),
        ("[18446744073709551615,0]", "uint64", [2**64 - 1, 0]),
        ("[1.0,2,3,4,5]", "float64", [1.0, 2.0, 3.0, 4.0, 5.0]),
        ("[-0.0,1e3,1E-3,5e-324]", "float64", [-0.0, 1000.0, 0.001, 5e-324]),
        ("[9007199254740993,0.5]", "float64", [9007199254740992.0, 0.5]),
    ],
)
def test_the_type_is_the_smallest_of_three_that_holds_all(text: str, dtype: str, values: list[Any]) -> None:
    array = parse_json(text.encode())

    assert array.dtype == dtype
    assert repr(array.tolist()) == repr(values)


def test_integers_beyond_64_bits_are_floats() -> None:
    assert repr(parse_json(b"[18446744073709551616, 1, 2, 3]")) == "[1.8446744073709552e+19, 1, 2, 3]"


def test_of_equal_keys_the_last_one_counts() -> None:
    value = parse_json(b'{"x": [1,2,3,4,5,6], "x": [1.5,2,3,4,5,6], "x": [7,8,9,10,11]}')

    assert value["x"].tolist() == [7, 8, 9, 10, 11]


def test_a_large_tensor_goes_through_float64_to_float32_unharmed() -> None:
    tensor = np.random.default_rng(0).standard_normal((1, 299, 299, 3)).astype(np.float32)
    short = orjson.dumps({"instances": tensor}, option=orjson.OPT_SERIALIZE_NUMPY)
    long = json.dumps({"instances": tensor.tolist()}, indent=1).encode()

    for text in (short, long):
        value = parse_json(text)["instances"]
        assert value.shape == tensor.shape
        np.testing.assert_array_equal(value.astype(np.float32), tensor)


def test_row_form_with_several_long_inputs() -> None:
    rows = [{"a": [[row + 0.5] * 100] * 50, "b": list(range(2000)), "name": "[1,2"} for row in range(3)]
    value = parse_json(json.dumps({"instances": rows}).encode())

    assert [type(row["a"]) for row in value["instances"]] == [np.ndarray] * 3
    assert plain(value["instances"]) == rows


def test_a_text_full_of_short_strings_is_not_searched_to_its_end() -> None:
    text = json.dumps(["a"] * 1000 + [[1] * 1000] * 2).encode()

    assert parse_json(text) == json.loads(text)


def test_strings_full_of_backslashes_and_quotes_end_where_they_end() -> None:
    generator = random.Random(0)
    for _ in range(200):
        string = "".join(generator.choice('\\"[],1') for _ in range(generator.randrange(20)))
        document = [string, {string: [1.5, 2.5, 3.5]}]
        assert plain(parse_json(json.dumps(document).encode())) == document


@pytest.mark.parametrize("text", ["[NaN]", "[1,2,3,4,Infinity]", '{"x": [1.5,NaN,2,3]}', '{"x": -Infinity}'])
def test_strict_json_has_no_names_of_numbers(text: str) -> None:
    with pytest.raises(JsonError):
        parse_json(text.encode(), non_finite=False)


@pytest.mark.parametrize("before", ["\\", "\\\\", '"', '\\"', '"\\', "a\\\\\\"])
def test_a_list_in_a_string_stays_one_whatever_ends_the_string_before(before: str) -> None:
    document = {before: "[1,2,3,4,5,6]", "x": [before, "[1.5,2,3,4]"]}

    assert parse_json(json.dumps(document).encode()) == document


def test_names_of_numbers_take_no_more_memory_than_numbers_do() -> None:
    def peak(value: bytes) -> int:
        tracemalloc.start()
        try:
            parse_json(b"[" + value * 20_000 + b'"x"]')
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(b"NaN,") < 3 * peak(b"2.71828182845,")


def test_a_first_row_that_promises_more_than_there_is_costs_nothing() -> None:
    rows: Any = 1.5
    for _ in range(6):
        rows = [rows, *[[]] * 300]

    assert parse_json(json.dumps(rows).encode()) == rows
    rows = 1.5
    for _ in range(6):
        rows = [rows, *[2] * 300]

    assert parse_json(json.dumps(rows).encode()) == rows
