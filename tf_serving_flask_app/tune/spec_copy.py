"""A copy of a spec with other settings, in which all else, comments too, stays as the user wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

Changes = Mapping[str, Mapping[str, Any]]
"""Section of a model's entry (session, batching) -> key -> value, a number, a bool or a plain word."""

Edit = tuple[int, int, str]
"""Where in the text, from and to, and what is to stand there."""


BYTE_ORDER_MARK = "\ufeff"


def change_spec(text: str, model: int, changes: Changes, note: str = "") -> str:
    """Change the settings of a model.

    Where they cannot be put into the text as it is (behind an alias, say), the whole is written anew, without comments.

    Args:
        text: a valid spec, its ends of lines and byte order mark as they are in its file.
        model: which of its models, from 0.
        changes: what to set.
        note: a comment for its head, without ``#``; empty: none.
    """
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    text = text.removeprefix(mark)
    end_of_line = _end_of_line(text)
    wanted = yaml.safe_load(text)
    for section, values in changes.items():
        wanted["models"][model][section] = {**(wanted["models"][model].get(section) or {}), **values}
    changed = text
    for start, end, new in sorted(_edits(text, model, changes), key=lambda edit: edit[0], reverse=True):
        changed = changed[:start] + new + changed[end:]
    if not _holds(changed, wanted):
        changed = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True, line_break=end_of_line)
    return mark + "".join(f"# {line}{end_of_line}" for line in note.splitlines()) + changed


def _holds(text: str, wanted: Any) -> bool:
    try:
        return bool(yaml.safe_load(text) == wanted)
    except yaml.YAMLError:
        return False


def _edits(text: str, model: int, changes: Changes) -> list[Edit]:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    entry = _value(_value(root, "models"), model)
    edits = []
    for section, values in changes.items():
        node = _value(entry, section)
        if isinstance(node, yaml.MappingNode) and node.value:
            for key, value in values.items():
                old = _value(node, key)
                new = _scalar(value, quoted=_is_quoted(node))
                if old is None:
                    edits.append(_addition(text, node, key, new, node.value[-1][1]))
                else:
                    edits.append((old.start_mark.index, old.end_mark.index, new))
        elif node is not None:
            edits.append((node.start_mark.index, node.end_mark.index, _mapping(values, quoted=_is_quoted(entry))))
        else:
            near = _value(entry, "path") or _value(entry, "backend") or entry.value[-1][1]
            edits.append(_addition(text, entry, section, _mapping(values, quoted=_is_quoted(entry)), near))
    return edits


def _end_of_line(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _value(node: Any, key: str | int) -> Any:
    """The node of a mapping's or a list's entry; None where there is none."""
    if isinstance(key, int):
        return node.value[key]
    return next((value for name, value in node.value if name.value == key), None)


def _addition(text: str, mapping: yaml.MappingNode, key: str, value: str, after: yaml.Node) -> Edit:
    """What puts an entry behind another one of a mapping."""
    end = after.end_mark.index
    if mapping.flow_style:
        return end, end, f", {json.dumps(key) if _is_quoted(mapping) else key}: {value}"
    end_of_line = _end_of_line(text)
    end = text.find(end_of_line, end) if end_of_line in text[end:] else len(text)
    return end, end, f"{end_of_line}{' ' * mapping.value[0][0].start_mark.column}{key}: {value}"


def _mapping(values: Mapping[str, Any], *, quoted: bool) -> str:
    entries = (
        f"{json.dumps(key) if quoted else key}: {_scalar(value, quoted=quoted)}" for key, value in values.items()
    )
    return f"{{{', '.join(entries)}}}"


def _scalar(value: Any, *, quoted: bool) -> str:
    return value if isinstance(value, str) and not quoted else json.dumps(value)


def _is_quoted(mapping: yaml.MappingNode) -> bool:
    """Whether its keys are in quotes, as JSON has them."""
    return any(name.style == '"' for name, _ in mapping.value)
