"""The names of a model's classes, from a file or from a list in the spec."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.label_map import read_label_map

# Nine digits are more classes than any model has, and keep a name that begins with a long number a name.
_INDEX_AND_NAME = re.compile(r"([0-9]{1,9})\s*:(.*)")


@dataclass(frozen=True)
class Labels:
    """The name of each class index; not every index need have one.

    Attributes:
        names: class index (0 is the model's first output) -> name, at least one.
    """

    names: Mapping[int, str]

    def __len__(self) -> int:
        """Highest index plus one: the number of classes that these labels suppose."""
        return max(self.names) + 1

    def label(self, index: int) -> str | None:
        """The name of a class, or None if it has none."""
        return self.names.get(index)


def read_labels(source: Path | Sequence[str]) -> Labels:
    """Read the labels that a spec gives: a file, or the names themselves in the order of the classes.

    A ``.pbtxt`` is a label map, see ``label_map``.

    A ``.txt`` holds one name a line, the first line being class 0, or ``index:name`` lines; it is taken for the
    latter if every line that is not blank has that form. UTF-8, with or without a byte order mark.

    Raises:
        ConfigurationError: the file cannot be read or is of another kind, is not UTF-8, gives an index twice,
            leaves a class without a name, or there is no name at all; the text names file, line and remedy.
    """
    if not isinstance(source, Path):
        if not source:
            raise ConfigurationError("labels: the list is empty; give a name for each class.")
        return Labels(dict(enumerate(source)))
    if source.suffix.lower() == ".pbtxt":
        return Labels(read_label_map(source))
    if source.suffix.lower() != ".txt":
        raise ConfigurationError(
            f"{source}: labels are taken from a .txt file (one name a line, or index:name), from a .pbtxt label map or"
            " from a list in the spec."
        )
    lines = _read_lines(source)
    if not lines:
        raise ConfigurationError(f"{source}: the file holds no label; write one name a line.")
    indexed = [_INDEX_AND_NAME.fullmatch(line) for line in lines if line]
    return Labels(_indexed_names(source, lines) if all(indexed) else _plain_names(source, lines))


def _read_lines(path: Path) -> list[str]:
    """The stripped lines of a text file, without the blank ones at its end."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise ConfigurationError(f"{path}: the labels cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise ConfigurationError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8.") from exc
    # Not splitlines(), which would also break a name at the rarer separators of Unicode.
    return [line.strip() for line in re.split(r"\r\n|\r|\n", text.rstrip())] if text.strip() else []


def _plain_names(path: Path, lines: Sequence[str]) -> dict[int, str]:
    for number, line in enumerate(lines, start=1):
        if not line:
            raise ConfigurationError(
                f"{path}, line {number}: a blank line, where the name of class {number - 1} should be; name it"
                " or delete the line."
            )
    return dict(enumerate(lines))


def _indexed_names(path: Path, lines: Sequence[str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        if not (match := _INDEX_AND_NAME.fullmatch(line)):
            continue
        index, name = int(match[1]), match[2].strip()
        if not name:
            raise ConfigurationError(f"{path}, line {number}: index {index} has no name; write index:name.")
        if index in names:
            raise ConfigurationError(
                f"{path}, line {number}: index {index} is {names[index]!r} already; give each index once."
            )
        names[index] = name
    return names
