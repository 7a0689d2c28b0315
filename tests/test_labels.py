"""Labels: the forms they are read from, and that a fault names file, line and remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.labels import Labels, read_labels

TEST_DATA = Path(os.environ.get("TEST_DATA", Path(__file__).parents[1] / "../shared/data"))


def write(folder: Path, content: bytes, name: str = "labels.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"cat\ndog\n", {0: "cat", 1: "dog"}),
        (b"cat\ndog", {0: "cat", 1: "dog"}),
        (b"cat\r\ndog\r\n\r\n \r\n", {0: "cat", 1: "dog"}),
        (b"\xef\xbb\xbfcat\ndog\n", {0: "cat", 1: "dog"}),
        (b"  great white shark, man-eater \nratio 1:2\n", {0: "great white shark, man-eater", 1: "ratio 1:2"}),
        ("Übeltäter\na\u2028b\n".encode(), {0: "Übeltäter", 1: "a\u2028b"}),
        (b"crane\ncrane\n", {0: "crane", 1: "crane"}),
        (b"12345678901234:long\n", {0: "12345678901234:long"}),
    ],
)
def test_a_line_is_the_name_of_the_class_of_its_number(tmp_path: Path, content: bytes, names: dict[int, str]) -> None:
    assert read_labels(write(tmp_path, content)).names == names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"0:background\n1:tench, Tinca tinca\n", {0: "background", 1: "tench, Tinca tinca"}),
        (b"2 : b\n\n0: a: the first\n", {2: "b", 0: "a: the first"}),
        (b"\xef\xbb\xbf7:seven\r\n", {7: "seven"}),
    ],
)
def test_lines_that_all_begin_with_an_index_are_read_by_index(
    tmp_path: Path, content: bytes, names: dict[int, str]
) -> None:
    assert read_labels(write(tmp_path, content)).names == names


def test_one_line_without_an_index_makes_all_of_them_names(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path, b"0:background\n16:9 screen\nphone\n"))
    assert labels.names == {0: "0:background", 1: "16:9 screen", 2: "phone"}


def test_a_list_is_taken_as_it_is() -> None:
    assert read_labels(["0:cat", "dog"]).names == {0: "0:cat", 1: "dog"}


def test_the_length_is_the_highest_index_plus_one_and_gaps_have_no_name() -> None:
    labels = Labels({3: "three", 1: "one"})
    assert len(labels) == 4
    assert (labels.label(3), labels.label(2), labels.label(9), labels.label(-1)) == ("three", None, None, None)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "holds no label"),
        (b" \n\r\n", "holds no label"),
        (b"\xef\xbb\xbf", "holds no label"),
        (b"cat\ndog\nM\xe4use\n", "line 3: not UTF-8"),
        (b"cat\n\ndog\n", "line 2: a blank line, where the name of class 1 should be"),
        (b"0:cat\n1:dog\n0:mouse\n", "line 3: index 0 is 'cat' already"),
        (b"0:cat\n1:\n", "line 2: index 1 has no name"),
    ],
)
def test_a_faulty_file_is_refused_with_its_name_and_line(tmp_path: Path, content: bytes, fault: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ConfigurationError, match=fault) as caught:
        read_labels(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", ["labels.csv", "labels"])
def test_a_file_of_another_kind_is_refused_with_those_that_are_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"taken from a \.txt file .* or from a list in the spec"):
        read_labels(write(tmp_path, b"cat\n", name))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.txt: the labels cannot be read: No such file"):
        read_labels(tmp_path / "none.txt")


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the list is empty"):
        read_labels([])


@pytest.mark.skipif(not TEST_DATA.is_dir(), reason="TEST_DATA names no folder of test data")
@pytest.mark.parametrize(
    ("path", "length", "index", "name"),
    [
        ("mobilenet_v1_025_128/labels.txt", 1001, 1, "tench, Tinca tinca"),
        ("mobilenet_v2_tflite/imagenet_labels.txt", 1001, 1, "tench, Tinca tinca"),
        ("cifar10_resnet/labels.txt", 10, 3, "cat"),
    ],
)
def test_label_files_of_real_models_are_read(path: str, length: int, index: int, name: str) -> None:
    labels = read_labels(TEST_DATA / "models" / path)
    assert (len(labels), labels.label(index)) == (length, name)
