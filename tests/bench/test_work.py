"""What is sent: requests that the real routes answer, and tensors that fit."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from tests.conftest import COLORS, HALF
from tf_serving_flask_app.bench.pictures import draw_pictures
from tf_serving_flask_app.bench.work import Protocol, Work, choose_protocol, draw_tensor, picture_work, tensor_work
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import ModelSpec

MakeSpecs = Callable[..., list[ModelSpec]]


def statuses(client: FlaskClient, work: Work) -> list[int]:
    """Send the bytes of each request through the application."""
    found = []
    for request in work.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert int(headers["Content-Length"]) == len(body)
        found.append(client.post(first.split(" ")[1], data=body, headers=headers).status_code)
    return found


def test_a_file_that_is_no_picture_is_named(make_specs: MakeSpecs, tmp_path: Path) -> None:
    (model,) = make_specs(COLORS)
    file = tmp_path / "notes.txt"
    file.write_text("no picture")
    with pytest.raises(ConfigurationError, match=r"notes\.txt is no picture .*; give another --picture"):
        picture_work(model, [file])


def test_drawn_pictures_are_large_and_differ() -> None:
    pictures = draw_pictures()

    assert len(set(pictures)) == 4
    assert all(Image.open(io.BytesIO(picture)).size == (1024, 768) for picture in pictures)
    assert all(50_000 < len(picture) < 300_000 for picture in pictures)


def test_pictures_are_answered_by_the_tasks_route(
    client: FlaskClient, make_specs: MakeSpecs, image_folder: Path
) -> None:
    (colors,) = make_specs(COLORS)
    work = picture_work(colors, [image_folder / "red.png"])

    assert statuses(client, work) == [200]
    assert work.pictures == ((image_folder / "red.png").read_bytes(),)


@pytest.mark.parametrize("protocol", ["v1", "v2"])
@pytest.mark.parametrize("model", ["half", "colors", "echo"])
def test_tensors_are_answered(client: FlaskClient, protocol: Protocol, model: str) -> None:
    described = client.get(f"/v2/models/{model}").get_json()

    assert statuses(client, tensor_work(model, protocol, described["inputs"])) == [200]


def test_a_model_that_names_no_inputs_cannot_be_drawn_for() -> None:
    with pytest.raises(ConfigurationError, match="choose one in the spec"):
        tensor_work("many", "v2", [])


@pytest.mark.parametrize(
    ("datatype", "shape", "drawn"),
    [
        ("FP32", [-1], (4,)),
        ("FP32", [-1, 3], (1, 3)),
        ("FP32", [-1, -1, -1, 3], (1, 64, 64, 3)),
        ("INT64", [-1, -1], (1, 4)),
        ("BYTES", [-1, 1], (1, 1)),
        ("BF16", [], ()),
    ],
)
def test_a_drawn_tensor_has_a_size_for_each_free_length(
    datatype: str, shape: list[int], drawn: tuple[int, ...]
) -> None:
    assert draw_tensor(datatype, shape).shape == drawn


def test_drawn_strings_are_bytes() -> None:
    assert draw_tensor("BYTES", [2]).tolist() == [b"text"] * 2
    assert draw_tensor("BOOL", [3]).dtype == np.dtype(bool)


def test_the_protocol_follows_the_task(make_specs: MakeSpecs) -> None:
    half, colors = make_specs(HALF, COLORS)

    assert (choose_protocol(half, "auto"), choose_protocol(colors, "auto")) == ("v2", "image")
    assert choose_protocol(colors, "v1") == "v1"
    with pytest.raises(ConfigurationError, match="not for pictures"):
        choose_protocol(half, "image")
