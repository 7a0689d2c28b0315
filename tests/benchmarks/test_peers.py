"""The comparison with other servers, as far as it can be tested without their environments."""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from tests.benchmarks.peers.__main__ import main, pinned, read
from tests.benchmarks.peers.bare_flask import create_app as create_bare
from tests.benchmarks.peers.catalogue import PEERS, Peer, Setup, peer_environ
from tests.benchmarks.peers.check import NOISE, OTHER_PIXELS, check_answer
from tests.benchmarks.peers.running import end
from tests.benchmarks.peers.served import Served, best, decode
from tests.benchmarks.peers.table import OURS, Measured, as_text, make_row, merge
from tests.benchmarks.peers.wire import Reply, read_classes, read_numbers, read_ours, read_v2_binary, read_v2_classes
from tests.clients.environment import ROOT
from tests.pictures import picture
from tf_serving_flask_app.bench.measure import Sample
from tf_serving_flask_app.bench.server import RunningServer
from tf_serving_flask_app.bench.usage import Memory
from tf_serving_flask_app.errors import ConfigurationError

EVERY_PEER = pytest.mark.parametrize("peer", PEERS.values(), ids=list(PEERS))
SERVED = Served("model.pb", "x:0", "y:0", 0, 5000, 2, 1, 8, "")


def pins(file: Path) -> dict[str, str]:
    """Package -> version of a file that pins."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!]+", line)] == []
    return {name.lower(): version for name, version in (line.split("==") for line in lines)}


def reply(found: object, **headers: str) -> Reply:
    return Reply(200, headers, json.dumps(found).encode())


def sample(rate: float, **failures: int) -> Sample:
    return Sample(rate, 0.010, 0.025, 0.008, Memory(300 << 20, 500 << 20), failures=failures)


def measured(work: str, rate: float = 50.0) -> Measured:
    ours, theirs = [sample(100), sample(120)], [sample(rate), sample(rate)]
    rows = [make_row(OURS, "2 x 1", ours, ours, theirs), make_row("fastapi", "1 x 2", theirs, ours, theirs)]
    return Measured(
        work, f"{work}'s title", "pictures", "5 rounds", rows, [make_row("fastapi", "2 x 1", [sample(9, busy=3)])]
    )


@EVERY_PEER
def test_every_version_of_a_peers_environment_is_pinned_and_the_model_runs_on_the_projects_own(peer: Peer) -> None:
    found, ours = pins(peer.requirements), pins(ROOT / "config" / "constraints.txt")

    assert peer.name in found
    assert {name: found[name] for name in ("tensorflow", "numpy", "pillow")} == {
        name: ours[name] for name in ("tensorflow", "numpy", "pillow")
    }


@EVERY_PEER
def test_a_peer_is_tried_with_two_workers_and_with_one_of_two_threads(peer: Peer) -> None:
    setups = peer.setups

    assert {(setup.workers, setup.threads) for setup in setups} == {(2, 1), (1, 2)}
    assert len({str(setup) for setup in setups}) == len(setups)
    assert any(setup.max_batch > 1 for setup in setups) == peer.batches


@EVERY_PEER
def test_a_peers_command_runs_its_own_environment(peer: Peer, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    command = peer.command(python, SERVED, tmp_path)

    assert Path(command[0]).parent == python.parent


def test_a_peers_process_gets_nothing_of_this_environment() -> None:
    environ = peer_environ(
        {"PATH": "/bin", "PYTHONPATH": "/ours", "VIRTUAL_ENV": "/v"}, Path("/p/bin/python"), Path("/f")
    )

    assert environ["PATH"] == "/p/bin:/bin"
    assert environ["PYTHONPATH"] == str(ROOT)
    assert "VIRTUAL_ENV" not in environ


def test_what_a_peer_serves_goes_through_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVED.to_environ().items():
        monkeypatch.setenv(name, value)

    assert Served.from_environ() == SERVED


def test_a_picture_is_decoded_in_full() -> None:
    pixels = decode(picture("red"), 4)

    assert pixels.shape == (1, 4, 4, 3)
    assert pixels[0, 0, 0].tolist() == [1.0, -1.0, -1.0]


def test_the_best_classes_come_best_first() -> None:
    assert [found["class"] for found in best(np.array([0.1, 0.5, 0.2, 0.0, 0.05, 0.15]))] == [1, 2, 5, 0, 4]


def test_each_form_of_an_answer_is_read() -> None:
    classes = [{"class": 7, "confidence": 0.5}]
    tensors = [{"name": "classes", "data": [7]}, {"name": "confidences", "data": [0.5]}]
    header = b'{"outputs": []}'
    binary = Reply(200, {"inference-header-content-length": str(len(header))}, header + np.float32(2.5).tobytes())

    assert read_ours(reply({"predictions": classes})) == {7: 0.5}
    assert read_classes("class")(reply(classes)) == read_classes("class")(reply([classes])) == {7: 0.5}
    assert read_classes("class", "predictions")(reply({"predictions": [classes]})) == {7: 0.5}
    assert read_v2_classes(reply({"outputs": tensors})) == {7: 0.5}
    assert read_numbers("outputs", 0, "data")(reply({"outputs": [{"data": [2.5]}]})) == {0: 2.5}
    assert read_v2_binary(binary) == {0: 2.5}


RIGHT = [0.30, 0.25, 0.20, 0.10, 0.08, 0.07]


def test_the_right_answer_passes() -> None:
    check_answer("peer", RIGHT, dict(enumerate(RIGHT[:5])), NOISE)
    check_answer("ours", RIGHT, {0: 0.301, 1: 0.249, 2: 0.2, 3: 0.1, 5: 0.075}, OTHER_PIXELS)


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ({0: 0.30}, "1 scores, not 5"),
        ({0: 0.40, 1: 0.25, 2: 0.20, 3: 0.10, 4: 0.08}, "0.400000 for 0"),
        ({0: float("nan"), 1: 0.25, 2: 0.20, 3: 0.10, 4: 0.08}, "nan for 0"),
        ({1: 0.25, 0: 0.30, 2: 0.20, 3: 0.10, 4: 0.08}, "1 in place 1"),
        ({0: 0.30, 1: 0.25, 2: 0.20, 3: 0.10, 5: 0.07}, "5 in place 5"),
    ],
)
def test_a_wrong_answer_is_told(scores: dict[int, float], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"peer .*{says}"):
        check_answer("peer", RIGHT, scores, NOISE)


def test_the_table_has_ratios_of_single_rounds_and_what_failed() -> None:
    lines = as_text([measured("half")], tried=True).splitlines()

    assert lines[1] == "half's title (5 rounds)"
    assert [line.split()[-2:] for line in lines[2:4]] == [["1.00", "2.20"], ["2.20", "1.00"]]
    assert "fastapi, 2 x 1: 3 x busy" in lines[-1]
    assert len(as_text([measured("half")], tried=False).splitlines()) == len(lines) - 2


def test_a_work_measured_again_takes_the_place_of_the_former(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    sections = [measured("half").as_json(), measured("mobilenet").as_json()]
    file.write_text(json.dumps({"machine": "this", "sections": sections}))
    found = merge(read(file, {"machine": "this"}), [measured("half", 60.0)])

    assert [(section.work, section.rows[1].rate) for section in found] == [("mobilenet", 50.0), ("half", 60.0)]
    assert found[0] == measured("mobilenet")


def test_the_same_work_with_other_peers_stands_beside_the_former() -> None:
    other = replace(measured("half"), rows=measured("half").rows[:1])

    assert merge([measured("half")], [other]) == [measured("half"), other]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("[]", "no file of an earlier comparison"),
        ("not JSON", "no file of an earlier comparison"),
        ('{"machine": "another", "sections": []}', "another machine"),
    ],
)
def test_a_file_that_the_results_do_not_belong_in_is_refused(written: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    file.write_text(written)

    with pytest.raises(ConfigurationError, match=says):
        read(file, {"machine": "this"})


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        read(tmp_path / "missing" / "peers.json", {})


@pytest.mark.parametrize("arguments", [["--only", "nobody"], ["--work", "nothing"], ["--rounds", "0"]])
def test_what_cannot_be_measured_is_refused_at_once(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_the_version_of_each_peer_is_known() -> None:
    assert all(pinned(peer.requirements, peer.name)[0].isdigit() for peer in PEERS.values())


def test_the_yardstick_is_right() -> None:
    answer = create_bare().test_client().post("/predict", json={"instances": [1.0, 2.0]})

    assert read_numbers("predictions")(reply(answer.get_json())) == {0: 2.5, 1: 3.0}


@pytest.mark.skipif(find_spec("fastapi") is None, reason="FastAPI is installed in .venv-peers-fastapi only")
@pytest.mark.parametrize("style", ["async", "threads"])
def test_the_routes_of_the_program_for_fastapi_are_there(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.benchmarks.peers import fastapi_server

    served = Served("model.pb", "x:0", "y:0", 0, 0, 1, 1, 1, style)
    monkeypatch.setattr(fastapi_server, "load", lambda served: lambda numbers: numbers / 2 + 2)
    for name, value in served.to_environ().items():
        monkeypatch.setenv(name, value)

    assert {"/ready", "/classify", "/predict"} <= {route.path for route in fastapi_server.create_app().routes}


def test_servers_end_together() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(RunningServer(["sleep", "600"], os.environ)) for _ in range(2)]
        end(servers)

        assert not any(psutil.pid_exists(server.pid) for server in servers)


def test_a_peers_environment_is_made_where_it_is_wanted(tmp_path: Path) -> None:
    peer = PEERS["kserve"]
    python = tmp_path / ".venv-peers-kserve" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / ".venv-peers-kserve" / ".installed").write_text(peer.requirements.read_text())

    assert peer.make_environment(tmp_path) == python


def test_setups_are_named_for_people() -> None:
    assert str(Setup(2, 1)) == "2 x 1"
    assert str(Setup(1, 2, 8, "async")) == "1 x 2, async, batching"
