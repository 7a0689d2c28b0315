"""The classifiers that Keras brings, ``keras.applications``: their names, their weights, and how pixels are scaled."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tf_serving_flask_app.backends.graphs import one_line
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.scaling import Color, parse_scale

SCALES: tuple[tuple[str, Color], ...] = (("raw", "rgb"), ("inception", "rgb"), ("caffe", "bgr"), ("torch", "rgb"))
"""The presets among which an application's own scaling is looked for, with the order of colours it goes with."""

SMALLEST_SIDE = 224
"""For the applications that take pictures of any size: what they were trained on."""

FETCH_FAILURE = re.compile(r"URL fetch failure on (\S+): (?:None -- )?(.*)")
"""What Keras' ``get_file`` raises, as a plain ``Exception``, when there is no network."""

CLASS_INDEX = "imagenet_class_index.json"


def application_names() -> dict[str, str]:
    """Every application by the name that an export gives it: ``inception_v3`` -> ``InceptionV3``."""
    from keras import applications

    builders = [name for name, found in vars(applications).items() if callable(found) and name[0].isupper()]
    return {re.sub(r"(V\d)(?=(\D?))", _set_apart, name).lower(): name for name in sorted(builders)}


def _set_apart(match: re.Match[str]) -> str:
    return f"_{match[1]}_" if match[2] else f"_{match[1]}"


def find_application(name: str) -> str | None:
    """The application's name as an export writes it, however capitals, ``_`` and ``-`` are set; None: no such."""
    plain = re.compile(r"[_-]")
    wanted = plain.sub("", name).lower()
    return next((known for known in application_names() if plain.sub("", known) == wanted), None)


def nearest(name: str) -> str:
    """What to say to a name that is no application: the nearest, else all."""
    known = list(application_names())
    if near := difflib.get_close_matches(name.lower(), known, n=1):
        return f"did you mean {near[0]!r}?"
    return f"the applications are {', '.join(known)}."


def build(name: str, weights: str) -> Any:
    """Build an application as a Keras model with a fixed size of picture.

    Args:
        name: as ``find_application`` gives it.
        weights: ``imagenet``, ``none`` (random ones) or the path of a file that Keras saved.

    Raises:
        ConfigurationError: the weights cannot be had; the text names the file to bring.
    """
    from keras import applications

    builder: Callable[..., Any] = getattr(applications, application_names()[name])
    if weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise ConfigurationError(f"--weights {weights}: there is no such file; it takes imagenet, none or a file.")
    given = None if weights == "none" else weights
    try:
        with warnings.catch_warnings():
            # MobileNetV3 warns that it chooses its size of picture, which is what is asked of it.
            warnings.simplefilter("ignore", UserWarning)
            model = builder(weights=given)
            if None in model.input_shape[1:]:
                model = builder(weights=given, input_shape=(SMALLEST_SIDE, SMALLEST_SIDE, 3))
    except Exception as exc:
        if failure := FETCH_FAILURE.search(str(exc)):
            too = "" if (_cache() / CLASS_INDEX).exists() else f"; {CLASS_INDEX}, for the labels, is missing there too"
            raise ConfigurationError(_bring(f"the weights of {name}", failure, "--weights") + too) from exc
        if weights in ("imagenet", "none"):
            raise ConfigurationError(f"{name} cannot be built: {one_line(exc)}") from exc
        raise ConfigurationError(
            f"--weights {weights}: these are no weights of {name} with its 1000 classes: {one_line(exc)}"
        ) from exc
    return model


def find_scale(name: str) -> str:
    """Tell which preset of ``scale:`` does what the application's own ``preprocess_input`` does, by comparing them.

    Raises:
        ConfigurationError: none does.
    """
    from keras import applications

    module = importlib.import_module(getattr(applications, application_names()[name]).__module__)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    wanted = np.asarray(module.preprocess_input(pixels.astype(np.float32)))
    for preset, color in SCALES:
        found = parse_scale(preset, color)(pixels if color == "rgb" else pixels[..., ::-1])
        if np.allclose(found, wanted, rtol=0, atol=1e-4):
            return preset
    raise ConfigurationError(f"{name}: its scaling of pixels is none of {', '.join(preset for preset, _ in SCALES)}.")


def imagenet_labels() -> list[str]:
    """The names of ImageNet's 1000 classes, from the file that Keras downloads once.

    Raises:
        ConfigurationError: it is not there and cannot be downloaded; the text names the file to bring.
    """
    from keras.applications import imagenet_utils

    if (brought := _cache() / CLASS_INDEX).is_file():
        return read_class_index(brought)  # Keras would delete a file that is not, byte for byte, its own
    falling = np.arange(1000, 0, -1)[np.newaxis]
    try:
        (classes,) = imagenet_utils.decode_predictions(falling, top=1000)
    except Exception as exc:
        if failure := FETCH_FAILURE.search(str(exc)):
            raise ConfigurationError(_bring("ImageNet's labels", failure, "--labels")) from exc
        raise ConfigurationError(f"ImageNet's labels cannot be downloaded: {one_line(exc)}") from exc
    return [name for _, name, _ in classes]


def read_class_index(path: Path) -> list[str]:
    """Read labels in the form of Keras' ``imagenet_class_index.json``: ``{"0": ["n01440764", "tench"], ...}``.

    Raises:
        ConfigurationError: the file is of another form.
    """
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))
        names = [str(classes[str(index)][1]) for index in range(len(classes))]
        if names:
            return names
        reason = "no class"
    except (OSError, ValueError, KeyError, TypeError, IndexError) as exc:
        reason = repr(exc)
    raise ConfigurationError(
        f'{path}: not labels in the form of {CLASS_INDEX}, {{"0": ["n01440764", "tench"], "1": ...}}: {reason}.'
    )


def _bring(what: str, failure: re.Match[str], option: str) -> str:
    url, reason = failure[1], failure[2]
    file = url.rsplit("/", 1)[-1]
    return (
        f"{what} cannot be downloaded ({reason}): bring the file {file} from {url} and put it into {_cache()}, or name"
        f" it: {option} FILE"
    )


def _cache() -> Path:
    """The folder in which Keras keeps what it downloads."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
