"""Models in a TensorFlow Serving: the same over gRPC and REST, and each failure over there is the right one here."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tf_serving_server import ModelServer
from tf_serving_flask_app.backends.tf_serving import TensorFlowServing
from tf_serving_flask_app.backends.tf_serving_grpc import addresses
from tf_serving_flask_app.backends.tf_serving_remote import remote_error
from tf_serving_flask_app.context import RequestContext, current_request
from tf_serving_flask_app.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    RemoteFailed,
    ServingError,
)
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Tensors

pytestmark = pytest.mark.tensorflow

Connect = Callable[..., TensorFlowServing]
MakeServer = Callable[..., ModelServer]
NOWHERE = "127.0.0.1:9"
X = np.array([1.0, 2.0, 5.0], np.float32)


def make_spec(name: str, *targets: str, **fields: Any) -> ModelSpec:
    return ModelSpec.model_validate({"name": name, "backend": "tf_serving", "targets": list(targets), **fields})


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes the backend of a model by name and target."""
    made: list[TensorFlowServing] = []

    def connect(name: str, *targets: str, **fields: Any) -> TensorFlowServing:
        made.append(TensorFlowServing(make_spec(name, *targets, **fields)))
        return made[-1]

    yield connect
    for backend in made:
        backend.close()


@pytest.fixture
def request_context() -> Iterator[RequestContext]:
    """The request that this thread works on, with half a minute left."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = RequestContext("my-id", time.monotonic() + 30, traceparent=trace)
    token = current_request.set(context)
    yield context
    current_request.reset(token)


@pytest.fixture(params=["target", "rest_target"])
def target_of(request: pytest.FixtureRequest) -> Callable[[ModelServer], str]:
    """The address of a server in one of its two protocols."""
    return lambda server: str(getattr(server, request.param))


def run(backend: TensorFlowServing, **inputs: Any) -> Tensors:
    return backend.run("serving_default", {name: np.asarray(value) for name, value in inputs.items()})


def test_a_model_has_the_signatures_that_the_server_tells_and_answers_as_there(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    half = connect("half", target_of(model_server()))
    outputs = run(half, x=X)

    assert half.version == 2
    assert {name: str(info) for name, info in half.signatures["serving_default"].inputs.items()} == {
        "x": "x: float32[-1]"
    }
    assert list(half.signatures["serving_default"].outputs) == ["twice", "y"]
    assert outputs["y"].tolist() == [3.5, 4.0, 5.5]
    assert outputs["y"].dtype == np.float32
    assert outputs["twice"].tolist() == [2.0, 4.0, 10.0]


def test_numbers_that_are_none_travel_too(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    x = np.array([np.nan, np.inf, -np.inf], np.float32)

    np.testing.assert_array_equal(run(connect("half", target_of(model_server())), x=x)["twice"], x)


def test_strings_travel_as_bytes(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    text = np.array([b"abc", "grün".encode()], object)
    outputs = run(connect("text", target_of(model_server())), text=text)

    assert outputs["upper"].dtype == object
    assert outputs["upper"].tolist() == [b"ABC", b"GR\xc3\xbcN"]


@pytest.mark.parametrize(
    ("fields", "version", "answer"),
    [({}, 2, 3.5), ({"version": 1}, 1, 2.5), ({"version_label": "stable"}, 1, 2.5), ({"remote_model": "half"}, 2, 3.5)],
)
def test_the_spec_chooses_the_model_and_the_version(
    model_server: MakeServer,
    connect: Connect,
    target_of: Callable[[ModelServer], str],
    fields: dict[str, Any],
    version: int,
    answer: float,
) -> None:
    server = model_server()
    server.behave(labels={"stable": 1})
    backend = connect("other" if "remote_model" in fields else "half", target_of(server), **fields)

    assert backend.version == version
    assert run(backend, x=X)["y"][0] == answer
    assert backend.is_current()


def test_the_names_of_the_spec_are_those_that_clients_use(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    half = connect("half", target_of(model_server()), inputs={"number": "x"}, outputs={"result": "y"})

    assert list(half.signatures["serving_default"].inputs) == ["number"]
    assert half.signatures["serving_default"].outputs["result"].name == "result"
    assert {name: value.tolist() for name, value in run(half, number=X).items()} == {"result": [3.5, 4.0, 5.5]}


def test_a_name_that_the_model_does_not_have_is_refused(model_server: MakeServer, connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="model 'half': the signature has no tensor 'z'; it has 'x'"):
        connect("half", model_server().target, inputs={"z": "z"})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NOT_FOUND", NotFound),
        ("INVALID_ARGUMENT", InvalidInput),
        ("DEADLINE_EXCEEDED", DeadlineExceeded),
        ("RESOURCE_EXHAUSTED", Overloaded),
        ("UNAVAILABLE", RemoteFailed),
        ("INTERNAL", RemoteFailed),
        ("UNKNOWN", RemoteFailed),
        ("FAILED_PRECONDITION", RemoteFailed),
    ],
)
def test_each_status_of_the_server_is_one_error(
    model_server: MakeServer, connect: Connect, code: str, kind: type[ServingError]
) -> None:
    server = model_server()
    half = connect("half", server.target)
    server.behave(fail={"half": code})
    with pytest.raises(kind) as caught:
        run(half, x=X)

    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NOT_FOUND", NotFound),
        ("INVALID_ARGUMENT", InvalidInput),
        ("RESOURCE_EXHAUSTED", Overloaded),
        ("UNAVAILABLE", RemoteFailed),
        ("INTERNAL", RemoteFailed),
    ],
)
def test_each_status_of_the_rest_api_is_one_error(
    model_server: MakeServer, connect: Connect, code: str, kind: type[ServingError]
) -> None:
    server = model_server()
    half = connect("half", server.rest_target)
    server.behave(fail={"half": code})
    with pytest.raises(kind) as caught:
        run(half, x=X)

    assert type(caught.value) is kind


def test_what_the_model_refuses_says_why_without_the_graphs_names(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    picky = connect("picky", target_of(model_server()))
    with pytest.raises(InvalidInput, match=r"^The model refuses this input: indices\[0\] = 7 is not in \[0, 3\)$"):
        run(picky, index=np.array([7], np.int32))


def test_an_unreachable_server_is_a_remote_failure_that_names_the_reason(connect: Connect) -> None:
    with pytest.raises(RemoteFailed, match=r"behind 'half' failed or cannot be reached: UNAVAILABLE: .*127\.0\.0\.1:9"):
        connect("half", NOWHERE)
    with pytest.raises(RemoteFailed, match="none of the targets can be reached"):
        connect("half", f"http://{NOWHERE}")


def test_a_model_that_the_server_does_not_have_is_not_found(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    with pytest.raises(NotFound, match="behind 'nope' does not have that model or version: Servable not found"):
        connect("nope", target_of(model_server()))


@pytest.mark.parametrize("state", ["START", "LOADING", "UNLOADING", "END"])
def test_a_model_that_is_not_available_is_not_ready_in_the_servers_own_word(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str], state: str
) -> None:
    server = model_server()
    server.behave(states={"half": state})
    with pytest.raises(NotReady) as caught:
        connect("half", target_of(server))

    assert caught.value.state == state


def test_another_version_or_state_or_a_dead_server_is_noticed(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    server = model_server()
    half = connect("half", target_of(server))
    assert half.is_current()
    server.behave(latest={"half": 1})
    assert not half.is_current()
    server.behave(states={"half": "UNLOADING"})
    assert not half.is_current()
    server.behave()
    assert half.is_current()
    server.kill()

    assert not half.is_current()


def test_the_ids_of_the_request_are_passed_on(
    model_server: MakeServer,
    connect: Connect,
    target_of: Callable[[ModelServer], str],
    request_context: RequestContext,
) -> None:
    server = model_server()
    run(connect("half", target_of(server)), x=X)
    metadata = server.calls()[-1]["metadata"]

    assert metadata["x-request-id"] == "my-id"
    assert metadata["traceparent"] == request_context.traceparent


def test_the_deadline_is_passed_on(model_server: MakeServer, connect: Connect, request_context: RequestContext) -> None:
    server = model_server()
    half = connect("half", server.target)
    request_context.deadline = time.monotonic() + 7
    run(half, x=X)

    assert 5 < server.calls()[-1]["remaining_s"] < 7.5


def test_a_server_that_is_too_slow_is_not_waited_for(
    model_server: MakeServer,
    connect: Connect,
    target_of: Callable[[ModelServer], str],
    request_context: RequestContext,
) -> None:
    server = model_server()
    half = connect("half", target_of(server))
    server.behave(delay=2)
    request_context.deadline = began = time.monotonic()
    request_context.deadline += 0.2
    with pytest.raises(DeadlineExceeded, match="before the model server behind 'half' had answered; allow more time"):
        run(half, x=X)
    assert time.monotonic() - began < 1.8
    request_context.deadline = time.monotonic() - 1
    with pytest.raises(DeadlineExceeded, match="before the model server was asked"):
        run(half, x=X)


def test_calls_go_to_the_targets_in_turn_and_past_a_dead_one(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    servers = [model_server(), model_server()]
    half = connect("half", *map(target_of, servers))
    run(half, x=X)
    deadline = time.monotonic() + 10
    while not all(server.calls() for server in servers):
        assert time.monotonic() < deadline, "one target never got a call"
        run(half, x=X)
    servers[0].stop()

    assert [run(half, x=X)["y"][0] for _ in range(10)] == [3.5] * 10


def test_one_dead_target_among_several_does_not_matter(
    model_server: MakeServer, connect: Connect, target_of: Callable[[ModelServer], str]
) -> None:
    target = target_of(model_server())
    dead = target.rpartition(":")[0] + ":9"

    assert run(connect("half", dead, target), x=X)["y"][0] == 3.5


def test_several_targets_may_be_names() -> None:
    assert addresses(["localhost:8500", "127.0.0.1:8501", "[::1]:8502", "no.such.host.invalid:1"]) == {
        "[::ffff:127.0.0.1]:8500",
        "[::ffff:127.0.0.1]:8501",
        "[::1]:8502",
    }
    assert addresses(["localhost:8500"]) == frozenset()


def test_tensors_larger_than_grpcs_usual_limit_travel_both_ways(model_server: MakeServer, connect: Connect) -> None:
    x = np.ones(3 << 20, np.float32)

    assert run(connect("half", model_server().target), x=x)["y"].sum() == 3.5 * len(x)


def test_tls_is_spoken_to_a_server_with_a_trusted_certificate_only(
    model_server: MakeServer, connect: Connect, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    target = model_server(tls=(certificate, key)).target
    with pytest.raises(RemoteFailed, match="CERTIFICATE_VERIFY_FAILED"):
        connect("half", target, tls={})

    assert run(connect("half", target, tls={"ca": certificate}), x=X)["y"][0] == 3.5


def test_an_error_without_a_text_says_its_code() -> None:
    assert str(remote_error("m", "INVALID_ARGUMENT", "")) == "The model refuses this input: INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("folder", "name", "inputs", "outputs"),
    [
        ("saved_model_half_plus_two_tf2_cpu", "half", {"x": [2.0]}, {"y": [3.0]}),
        ("matrix_half_plus_two", "matrix", {"x": [[[2.0] * 3] * 3]}, {"y": [[[3.0] * 3] * 3]}),
    ],
)
def test_tensorflow_servings_own_test_models_answer_as_there(
    model_server: MakeServer,
    connect: Connect,
    target_of: Callable[[ModelServer], str],
    test_data: Path,
    folder: str,
    name: str,
    inputs: dict[str, Any],
    outputs: dict[str, Any],
) -> None:
    server = model_server({name: test_data / "models" / "tfserving" / folder})
    backend = connect(name, target_of(server))
    arrays = {key: np.array(value, np.float32) for key, value in inputs.items()}
    answers = backend.run("serving_default", arrays)

    assert {key: answers[key].tolist() for key in outputs} == outputs
