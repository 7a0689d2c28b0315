"""``session.precision`` and ``session.xla`` are refused where nothing comes of them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.models import Load, Models, make_spec, needs_bfloat16
from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.backends.acceleration import check_machine, processor_flags
from tf_serving_flask_app.errors import ConfigurationError

pytestmark = pytest.mark.tensorflow

BROADWELL = """\
processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 79
model name	: Intel(R) Xeon(R) CPU E5-2673 v4 @ 2.30GHz
flags		: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss ht \
syscall nx pdpe1gb rdtscp lm constant_tsc rep_good nopl xtopology cpuid pni pclmulqdq ssse3 fma cx16 pcid sse4_1 \
sse4_2 movbe popcnt aes xsave avx f16c rdrand hypervisor lahf_lm abm 3dnowprefetch invpcid_single pti fsgsbase bmi1 \
hle avx2 smep bmi2 erms invpcid rtm rdseed adx smap xsaveopt md_clear
bugs		: cpu_meltdown spectre_v1 spectre_v2 spec_store_bypass l1tf mds
"""
SAPPHIRE_RAPIDS = BROADWELL.replace("xsaveopt", "avx512f avx512bw avx512_bf16 amx_bf16 amx_tile xsaveopt")
GRAVITON_2 = """\
processor	: 0
BogoMIPS	: 243.75
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer	: 0x41
"""
GRAVITON_3 = GRAVITON_2.replace("ssbs", "ssbs sve svebf16 i8mm bf16 dgh rng")
BFLOAT16 = make_spec("frozen_graph", Path("unused"), session={"precision": "bfloat16"})


@pytest.fixture
def cpuinfo(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file as Linux writes it for a processor."""
    file = tmp_path / "cpuinfo"
    file.write_text(request.param)
    return file


@pytest.mark.parametrize("cpuinfo", [BROADWELL, GRAVITON_2], indirect=True)
def test_bfloat16_is_refused_on_a_processor_that_cannot_compute_in_it(cpuinfo: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model 'm': session\.precision: this processor .* out\.$") as caught:
        check_machine(BFLOAT16, cpuinfo)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cpuinfo", [SAPPHIRE_RAPIDS, GRAVITON_3], indirect=True)
def test_bfloat16_is_taken_on_a_processor_made_for_it(cpuinfo: Path) -> None:
    check_machine(BFLOAT16, cpuinfo)


@pytest.mark.parametrize("cpuinfo", [BROADWELL], indirect=True)
def test_float32_is_taken_on_any_processor(cpuinfo: Path) -> None:
    check_machine(make_spec("frozen_graph", Path("unused")), cpuinfo)


def test_where_nothing_tells_what_the_processor_can_do_nothing_is_refused_for_it(tmp_path: Path) -> None:
    check_machine(BFLOAT16, tmp_path / "none")

    assert processor_flags(tmp_path / "none") == frozenset()


def test_bfloat16_is_refused_without_onednn(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from tests.backends.test_acceleration import BFLOAT16
from tf_serving_flask_app.backends.acceleration import check_machine
check_machine(BFLOAT16, Path("none"))
"""
    environ = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "SessionRefused: model 'm': session.precision: bfloat16 is computed by oneDNN, which TF_EN" in done.stderr


@pytest.mark.parametrize("kind", ["tflite", "tf_serving", "tests.numpy_backends:Same"])
@pytest.mark.parametrize(("field", "value"), [("precision", "bfloat16"), ("xla", True)])
def test_a_backend_without_a_tensorflow_session_refuses_them(kind: str, field: str, value: object) -> None:
    fields: dict[str, Any] = {} if kind == "tf_serving" else {"path": "m"}
    spec = BFLOAT16.model_validate({"name": "m", "backend": kind, "session": {field: value}, **fields})
    with pytest.raises(ConfigurationError, match=rf"model 'm': session\.{field}: .*backend {kind} does not; leave"):
        backend_class(kind).check_session(spec)


@pytest.mark.parametrize(
    ("backend", "model", "operations"),
    [
        ("frozen_graph", "text", "StringUpper|StringLength"),
        ("frozen_graph", "boxes", "NonMaxSuppressionV3"),
        ("frozen_graph", "classifier", "_MklMatMul|MatMul"),
        ("keras", "sequential", "_MklMatMul|MatMul"),
    ],
)
def test_xla_is_refused_where_it_would_compile_nothing(
    models: Models, backend: str, model: str, operations: str
) -> None:
    with pytest.raises(ConfigurationError, match=operations) as caught:
        backend_class(backend)(make_spec(backend, getattr(models, model), session={"xla": True}))

    assert str(caught.value).startswith("model 'm': session.xla: XLA compiles nothing in this graph (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("backend", "model"), [("frozen_graph", "chain"), ("frozen_graph", "text"), ("saved_model", "vocabulary")]
)
def test_bfloat16_is_refused_where_nothing_would_be_computed_in_it(models: Models, backend: str, model: str) -> None:
    with pytest.raises(ConfigurationError, match=r"session\.precision: nothing in this graph is computed in bfloat16"):
        backend_class(backend)(make_spec(backend, getattr(models, model), session={"precision": "bfloat16"}))


@needs_bfloat16
def test_a_model_that_keeps_its_variables_is_computed_in_bfloat16_too(models: Models, load: Load) -> None:
    words = {"words": np.array([b"a", b"b", b"c"], object)}
    scores, rounded = (
        load("saved_model", models.word_scores, session={"precision": precision}).run("serving_default", words)[
            "scores"
        ]
        for precision in ("float32", "bfloat16")
    )

    np.testing.assert_allclose(rounded, scores, atol=0.02)
    assert not np.array_equal(rounded, scores)


def test_a_model_that_refuses_zeros_is_served_and_the_log_says_that_nothing_was_tried(
    models: Models, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        load("frozen_graph", models.encoded, session={"xla": True})

    assert "model m: signature serving_default refuses zeros, so it was not tried whether `session` acts" in caplog.text
