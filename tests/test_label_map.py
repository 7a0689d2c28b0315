"""Label maps: what protobuf's text format allows, and clear words for what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.label_map import read_label_map
from tf_serving_flask_app.labels import read_labels

MAPS = {
    "plain": ("item {\n  id: 1\n  name: 'cat'\n}\nitem {\n  id: 2\n  name: 'dog'\n}\n", {1: "cat", 2: "dog"}),
    "display name first": ('item { name: "/m/01" id: 7 display_name: "Seal" }', {7: "Seal"}),
    "comments, commas and colons": (
        "# map\nitem: { id: 3, name: 'a' } # c\nitem < id: 9; name: 'b' >",
        {3: "a", 9: "b"},
    ),
    "escapes and joined strings": (r"item { id: 0 name: 'it\'s \303\251' ' x' }", {0: "it's é x"}),
    "unknown fields": ("item { id: 1 name: 'a' keypoints { id: 4 label: 'k' } ancestor_ids: 5 }", {1: "a"}),
    "UTF-8 and a byte order mark": ("\ufeffitem { id: 1 name: 'Löwe' }", {1: "Löwe"}),
    "one line, gaps": ("item{id:90 name:'z'}item{id:5 name:'y'}", {90: "z", 5: "y"}),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_label_map_is_read_as_protobuf_reads_it(name: str, tmp_path: Path) -> None:
    text, names = MAPS[name]
    path = tmp_path / "map.pbtxt"
    path.write_text(text)

    assert read_label_map(path) == names
    assert read_labels(path).label(min(names)) == names[min(names)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("item { id: 1 name: 'a'", "not a label map"),
        ("cat\ndog\n", "not a label map"),
        ("", "names no class"),
        ("item { name: 'a' }", "item 1 needs an id"),
        ("item { id: 1 }", "item 1 needs an id from 0 and a name"),
        ("item { id: -1 name: 'a' }", "from 0"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "id 1 is 'a' already"),
    ],
)
def test_what_is_no_label_map_is_refused_in_one_line(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "map.pbtxt"
    path.write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        read_label_map(path)

    assert named in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_map_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.pbtxt").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_label_map(tmp_path / "none.pbtxt")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_label_map(tmp_path / "binary.pbtxt")
