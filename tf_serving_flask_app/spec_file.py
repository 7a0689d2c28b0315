"""Spec files: YAML (so JSON too) → the records of ``spec``, or one line that names file, line, field and remedy."""

from __future__ import annotations

import difflib
import os
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import NO_PATH, ModelSpec, Spec


def load_spec(path: Path, assets: Path | None = None) -> Spec:
    """Read and validate a spec; the paths in it come back absolute and exist.

    Args:
        path: the spec file.
        assets: folder in which relative model and label paths are looked up; None: the spec's own folder.

    Raises:
        ConfigurationError: one line that names file, line, field and remedy for the first fault.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path}: the spec cannot be read: {exc}") from exc
    if assets is not None and not os.path.isdir(assets):
        raise ConfigurationError(f"{assets}: there is no such assets folder (-a).")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        line = f", line {exc.problem_mark.line + 1}" if exc.problem_mark else ""
        problem = " ".join(filter(None, (exc.context, exc.problem)))
        raise ConfigurationError(f"{path}{line}: not valid YAML: {problem}.") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigurationError(f"{path}: not valid YAML: {' '.join(str(exc).split())}.") from exc
    except (LookupError, AttributeError) as exc:  # what PyYAML does with `!!int ""` and `!!bool x`
        raise ConfigurationError(f"{path}: not valid YAML: a value does not fit its !!tag; leave the tag out.") from exc
    if node is None or not isinstance(data, dict):
        raise ConfigurationError(f"{path}: a spec is a mapping with the key 'models', a list of models.")
    _refuse_duplicate_keys(path, node, set())
    try:
        spec = Spec.model_validate(data)
    except ValidationError as exc:
        raise ConfigurationError(_first_fault(path, node, exc)) from exc
    names = [model.name for model in spec.models]
    for index, name in enumerate(names):
        if name in names[:index]:
            place = _place(path, node, ("models", index, "name"))
            raise ConfigurationError(f"{place}: another model is named {name!r} too; rename one.")
    folder = (assets or path.parent).resolve()
    models = [_resolve(path, node, index, model, folder) for index, model in enumerate(spec.models)]
    return Spec(models=models)


def _resolve(path: Path, node: yaml.Node, index: int, model: ModelSpec, folder: Path) -> ModelSpec:
    """Make the paths of one model absolute, and refuse those that lead nowhere."""
    found: dict[str, Any] = {}
    if model.path is not NO_PATH:
        found["path"] = _existing(folder / model.path, _place(path, node, ("models", index, "path")))
    if isinstance(model.labels, Path):
        found["labels"] = _existing(folder / model.labels, _place(path, node, ("models", index, "labels")))
    if model.tls is not None:
        files = {
            name: _existing(folder / file, _place(path, node, ("models", index, "tls", name)))
            for name, file in model.tls
            if file is not None
        }
        found["tls"] = model.tls.model_copy(update=files)
    return model.model_copy(update=found)


def _existing(where: Path, place: str) -> Path:
    if not os.path.exists(where):  # Path.exists raises where a name is too long
        raise ConfigurationError(
            f"{place}: there is no {str(where)!r}; relative paths are looked up in the assets folder (-a) if given,"
            " else beside the spec."
        )
    if not os.access(where, os.R_OK):
        raise ConfigurationError(f"{place}: {str(where)!r} may not be read.")
    return where


def _first_fault(path: Path, node: yaml.Node, exc: ValidationError) -> str:
    """One line for the fault to mend first: an unknown key is often the reason why another is missing."""
    error = min(exc.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    location = error["loc"]
    place = _place(path, node, location)
    if error["type"] == "extra_forbidden":
        known = list(_record_at(location[:-1]).model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}."
        return f"{place}: unknown key {location[-1]!r}; {hint}"
    if error["type"] == "missing":
        return f"{place}: the key {location[-1]!r} is missing. {_description(location)}".rstrip()
    message = error["msg"].removeprefix("Value error, ").removesuffix(" for <class 'pathlib.Path'>")
    got = "" if error["type"] == "value_error" else f", not {_shown(error['input'])}"
    return f"{place}: {message}{got}. {_description(location)}".rstrip()


def _shown(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to print thousands of digits
        return "a number of that size"
    return repr(value[:100]) if isinstance(value, str) else str(value)[:100]


def _place(path: Path, node: yaml.Node, location: tuple[int | str, ...]) -> str:
    """``file, line 7, models[0].image.width``, as deep as the file goes (pydantic adds names of union branches)."""
    line, field = node.start_mark.line, ""
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
            field += f".{part}" if str(part).isprintable() else f".{part!r}"
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
            field += f"[{part}]"
        else:
            break
    return f"{path}, line {line + 1}" + (f", {field.lstrip('.')}" if field else "")


def _record_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    """The record that a location in the file must hold."""
    record: type[BaseModel] = Spec
    for part in location:
        if isinstance(part, str) and part in record.model_fields:
            record = _record_in(record.model_fields[part].annotation) or record
    return record


def _description(location: tuple[int | str, ...]) -> str:
    """What the spec's field at a location takes, in the words of its own description."""
    for depth in range(len(location), 0, -1):
        field = _record_at(location[: depth - 1]).model_fields.get(str(location[depth - 1]))
        if field is not None:
            return field.description or ""
    return ""


def _record_in(annotation: Any) -> type[BaseModel] | None:
    """The record type inside ``list[...]``, ``dict[str, Annotated[...]]`` or ``... | None``, if any."""
    if arguments := typing.get_args(annotation):
        return next(filter(None, map(_record_in, arguments)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _refuse_duplicate_keys(path: Path, node: yaml.Node, checked: set[int]) -> None:
    """YAML's loader lets the last of two equal keys win silently; a spec with two is a mistake."""
    if id(node) in checked:  # an alias, maybe of a node that holds it
        return
    checked.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigurationError(
                    f"{path}, line {key.start_mark.line + 1}: the key {key.value!r} is given twice; keep one."
                )
            seen.add(key.value)
            _refuse_duplicate_keys(path, value, checked)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicate_keys(path, item, checked)
