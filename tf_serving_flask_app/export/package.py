"""What an export writes, ``NAME.frozen.pb``, ``NAME.txt`` and ``NAME.spec``: whole and checked, or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tf_serving_flask_app.context import warm_context
from tf_serving_flask_app.errors import ConfigurationError, ServingError
from tf_serving_flask_app.export.sources import Source
from tf_serving_flask_app.inspection import SCALE_HINT
from tf_serving_flask_app.loading import load_task
from tf_serving_flask_app.scaling import Scale
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.tensors import Array, TensorInfo, Tensors

MOST_DIFFERENCE = 1e-4
"""Between an export's answer and the source's; of outputs beyond 1, relative to the largest."""

MOST_SHARE = 1e-2
"""Of the largest output: else outputs that are all small, as those of 1000 classes untrained, would never differ."""

ROUNDING = 1e-6
"""Less is what float32 does to any sum, however small its result."""

BATCH, FREE_LENGTH = 2, 64


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Make the folder to write to, and in it one for what is not finished, which is gone at the end.

    After an error, folders that were made for nothing are gone too.

    Raises:
        ConfigurationError: it cannot be written to.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as staged:
            yield Path(staged)
    except OSError as exc:
        raise ConfigurationError(f"{out}: the export cannot be written there: {exc.strerror}; use --out DIR.") from exc
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds the export
                folder.rmdir()


def write_candidate(
    folder: Path,
    name: str,
    graph_def: Any,
    spec: dict[str, Any],
    labels: str,
    remark: str,
    *,
    scale_is_known: bool,
) -> Path:
    """Write the files of an export under their final names.

    Args:
        folder: for what is not finished.
        name: of the model.
        graph_def: frozen, with the tensors that the spec names.
        spec: the entry of the spec; ``path`` and ``labels`` are set here.
        labels: text of the label file; empty for none.
        remark: first line of the spec, as a comment.
        scale_is_known: else the spec says that its scale is a guess.

    Returns:
        The path of the spec.
    """
    entry = {**spec, "path": f"{name}.frozen.pb"}
    entry.pop("labels", None)
    (folder / entry["path"]).write_bytes(graph_def.SerializeToString(deterministic=True))
    if labels:
        entry["labels"] = f"{name}.txt"
        (folder / entry["labels"]).write_text(labels, encoding="utf-8")
    text = yaml.safe_dump({"models": [entry]}, sort_keys=False, allow_unicode=True, width=200)
    if not scale_is_known:
        text = text.replace("scale: raw\n", f"scale: raw  # {SCALE_HINT}\n")
    path = folder / f"{name}.spec"
    path.write_text(f"# {remark}\n{text}", encoding="utf-8")
    return path


def keep(folder: Path, out: Path) -> None:
    """Put finished files into place; the spec, which refers to the others, as the last."""
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix == ".spec"):
        os.replace(path, out / path.name)


def compare(spec_file: Path, source: Source, scale: Scale | None) -> float:
    """Serve an export as its spec says, and compare its answers on random input with those of its source.

    Args:
        spec_file: the written spec; its inputs and outputs are in the source's order, maybe under other names.
        source: the model that was exported.
        scale: of random pixels, where they must be scaled before the model sees them.

    Returns:
        The largest difference.

    Raises:
        ConfigurationError: it cannot be served, or answers otherwise.
    """
    (spec,) = load_spec(spec_file).models
    task = load_task(spec, Settings.from_environ({}))
    try:
        inputs = random_inputs(source, scale)
        try:
            wanted = source.run(inputs)
        except Exception as exc:
            raise ConfigurationError(
                f"The source model refuses random input, so the export cannot be compared with it: {str(exc)[:300]!r}"
            ) from exc
        try:
            renamed = dict(zip(task.model.signature().inputs, inputs.values(), strict=True))
            found = task.model.run(renamed, warm_context())
        except ServingError as exc:
            raise ConfigurationError(f"The frozen graph fails where its source does not: {exc}") from exc
    finally:
        task.model.close()
    return max(difference(key, own, wanted[key]) for key, own in zip(wanted, found.values(), strict=True))


def random_inputs(source: Source, scale: Scale | None) -> Tensors:
    """Random values for each input: scaled pixels, else -1..1; 0 and 1 for integers; a PNG file for strings."""
    rng = np.random.default_rng(0)
    return {name: _random(rng, info, scale) for name, info in source.signature.inputs.items()}


def _random(rng: np.random.Generator, info: TensorInfo, scale: Scale | None) -> Array:
    sizes = (None,) if info.shape is None else info.shape
    shape = [(FREE_LENGTH if axis else BATCH) if size is None else size for axis, size in enumerate(sizes)]
    if info.dtype == object:
        array = np.empty(shape, dtype=object)
        array.fill(_png(rng))
        return array
    if scale is not None:
        return scale(rng.integers(0, 256, shape, np.uint8)).astype(info.dtype)
    if info.dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(info.dtype)
    return rng.uniform(-1, 1, shape).astype(info.dtype)


def _png(rng: np.random.Generator) -> bytes:
    """A picture of random pixels: graphs that decode pictures take it, and others any bytes."""
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (FREE_LENGTH, FREE_LENGTH, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def difference(name: str, found: Array, wanted: Array) -> float:
    """Tell by how much two answers differ at most.

    Raises:
        ConfigurationError: by more than an export may, or they are of other shapes, or the source's is no number.
    """
    refusal = f"The frozen graph answers otherwise than its source, in {name!r}"
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise ConfigurationError(
            f"{refusal}: {found.dtype}{list(found.shape)}, not {wanted.dtype}{list(wanted.shape)}."
        )
    if wanted.dtype.kind in "OSUbiu":
        if not np.array_equal(found, wanted):
            raise ConfigurationError(f"{refusal}.")
        return 0.0
    if not np.isfinite(wanted).all():
        raise ConfigurationError(f"The source model answers random input with what is no number, in {name!r}.")
    if not wanted.size:
        return 0.0
    largest = float(np.abs(wanted).max())
    result = float(np.abs(found - wanted).max())
    allowed = max(ROUNDING, min(MOST_DIFFERENCE * max(1.0, largest), MOST_SHARE * largest))
    if not result <= allowed:
        raise ConfigurationError(f"{refusal}: by {result:.2g}, where {allowed:.2g} is allowed; nothing is written.")
    return result
