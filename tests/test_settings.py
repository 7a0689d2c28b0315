"""Settings: defaults, what each variable takes, and that a bad value is refused by the variable's name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pydantic
import pytest

from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.settings import NOT_YET, SAMPLES, VARIABLES, Settings

DEFAULTS: dict[str, Any] = {
    "FLASK_ENV": "production",
    "FLASK_MODE": "multiprocess",
    "FLASK_DEBUG": False,
    "FLASK_PROFILE": False,
    "FLASK_PSTATS_FUNCTION_LIMIT": 30,
    "PROFILE_DIR": None,
    "WEB_CONCURRENCY": usable_cores(),
    "FLASK_WORKER_CLASS": "eventlet",
    "THREADS": 32,
    "HOST": "0.0.0.0",
    "PORT": 5000,
    "METRICS_PORT": None,
    "MODEL_FOLDER": None,
    "MODEL_POLL_S": 1,
    "UPLOAD_FOLDER": None,
    "IMAGE_FOLDER": SAMPLES,
    "MIN_CONFIDENCE": 0.8,
    "DEBUG": False,
    "MAX_CONTENT_LENGTH": 32 * 2**20,
    "MAX_IMAGE_PIXELS": 50_000_000,
    "MAX_QUEUE": 128,
    "REQUEST_TIMEOUT_S": 30,
    "APP_TFSERVING_HOST": None,
    "APP_TFSERVING_PORT": None,
    "TLS_CERT": None,
    "TLS_KEY": None,
}


def value_of(name: str, environ: dict[str, str]) -> Any:
    return Settings.from_environ(environ).model_dump(by_alias=True)[name]


def refusal_of(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environ(environ)
    return str(caught.value)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    assert Settings.from_environ({}).model_dump(by_alias=True) == DEFAULTS


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_counts_as_unset(name: str) -> None:
    assert Settings.from_environ({name: ""}) == Settings.from_environ({})


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_says_what_it_does_in_a_sentence(name: str) -> None:
    assert re.fullmatch(r"\S.{10,}\.", VARIABLES[name].description)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("FLASK_ENV", "development", "development"),
        ("FLASK_MODE", "multithreaded", "multithreaded"),
        ("FLASK_DEBUG", "1", True),
        ("FLASK_DEBUG", "true", True),
        ("FLASK_DEBUG", "0", False),
        ("FLASK_DEBUG", "off", False),
        ("FLASK_PROFILE", "True", True),
        ("FLASK_PSTATS_FUNCTION_LIMIT", "5", 5),
        ("PROFILE_DIR", "profiles", Path("profiles")),
        ("WEB_CONCURRENCY", "4", 4),
        ("FLASK_WORKER_CLASS", "gthread", "gthread"),
        ("THREADS", "1", 1),
        ("HOST", "::1", "::1"),
        ("PORT", "0", 0),
        ("PORT", "65535", 65535),
        ("METRICS_PORT", "9100", 9100),
        ("MAX_CONTENT_LENGTH", "1024", 1024),
        ("MAX_CONTENT_LENGTH", "64MiB", 64 * 2**20),
        ("MAX_IMAGE_PIXELS", "50_000_000", 50_000_000),
        ("MAX_IMAGE_PIXELS", "2e6", 2_000_000),
        ("MAX_QUEUE", "0", 0),
        ("REQUEST_TIMEOUT_S", "0.5", 0.5),
    ],
)
def test_a_value_is_parsed(name: str, text: str, value: object) -> None:
    assert value_of(name, {name: text}) == value


@pytest.mark.parametrize(
    ("name", "text", "takes"),
    [
        ("FLASK_ENV", "prod", "'production' or 'development'"),
        ("FLASK_MODE", "threads", "'multiprocess' or 'multithreaded'"),
        ("FLASK_DEBUG", "maybe", "boolean"),
        ("FLASK_PROFILE", "2", "boolean"),
        ("FLASK_PSTATS_FUNCTION_LIMIT", "0", "greater than or equal to 1"),
        ("WEB_CONCURRENCY", "0", "greater than or equal to 1"),
        ("WEB_CONCURRENCY", "two", "integer"),
        ("WEB_CONCURRENCY", "1.5", "integer"),
        ("FLASK_WORKER_CLASS", "tornado", "'eventlet', 'gevent', 'gthread' or 'sync'"),
        ("THREADS", "-1", "greater than or equal to 1"),
        ("THREADS", "5000", "less than or equal to 4096"),
        ("PORT", "65536", "less than or equal to 65535"),
        ("PORT", "http", "integer"),
        ("METRICS_PORT", "0", "greater than or equal to 1"),
        ("METRICS_PORT", "65536", "less than or equal to 65535"),
        ("MAX_CONTENT_LENGTH", "0", "greater than 0"),
        ("MAX_CONTENT_LENGTH", "much", "MAX_CONTENT_LENGTH"),
        ("MAX_IMAGE_PIXELS", "inf", "integer"),
        ("MAX_IMAGE_PIXELS", "nan", "integer"),
        ("MAX_QUEUE", "-1", "greater than or equal to 0"),
        ("REQUEST_TIMEOUT_S", "0", "greater than 0"),
        ("REQUEST_TIMEOUT_S", "inf", "finite"),
        ("REQUEST_TIMEOUT_S", "nan", "finite"),
        ("REQUEST_TIMEOUT_S", "30s", "number"),
    ],
)
def test_a_bad_value_is_refused_by_name_with_what_the_variable_takes(name: str, text: str, takes: str) -> None:
    refusal = refusal_of({name: text})

    assert refusal.startswith(f"{name}={text!r}: ")
    assert takes in refusal
    assert refusal.endswith(VARIABLES[name].description)


def test_the_metrics_cannot_have_the_main_port_as_their_own() -> None:
    assert refusal_of({"PORT": "9100", "METRICS_PORT": "9100"}).startswith("METRICS_PORT=9100 is the main port")


def test_the_development_server_has_no_second_port() -> None:
    refusal = refusal_of({"FLASK_ENV": "development", "METRICS_PORT": "9100"})

    assert refusal.startswith("METRICS_PORT does not go with FLASK_ENV=development")


def test_a_value_with_a_line_break_is_refused_in_one_line() -> None:
    assert refusal_of({"PORT": "50\n00"}).startswith(r"PORT='50\n00': ")


def test_the_first_of_several_bad_values_is_named() -> None:
    assert refusal_of({"PORT": "http", "FLASK_ENV": "prod"}).startswith("FLASK_ENV='prod': ")


def test_variables_of_others_are_left_alone() -> None:
    assert Settings.from_environ({"PATH": "/bin", "FLASK_APP": "x"}) == Settings.from_environ({})


def test_development_is_multithreaded_if_nothing_is_said() -> None:
    assert value_of("FLASK_MODE", {"FLASK_ENV": "development"}) == "multithreaded"


def test_development_with_multiprocess_is_refused_with_the_reason_and_the_remedy() -> None:
    refusal = refusal_of({"FLASK_ENV": "development", "FLASK_MODE": "multiprocess"})

    assert "FLASK_MODE=multiprocess does not go with FLASK_ENV=development" in refusal
    assert "one process" in refusal
    assert "Unset FLASK_MODE" in refusal


@pytest.mark.parametrize(
    ("environ", "processes"),
    [
        ({"WEB_CONCURRENCY": "3"}, 3),
        ({"WEB_CONCURRENCY": "3", "FLASK_MODE": "multithreaded"}, 1),
        ({"WEB_CONCURRENCY": "3", "FLASK_ENV": "development"}, 1),
    ],
)
def test_only_multiprocess_shares_the_cores_among_processes(environ: dict[str, str], processes: int) -> None:
    assert Settings.from_environ(environ).processes == processes


@pytest.mark.parametrize(
    ("environ", "target"),
    [
        ({}, None),
        ({"APP_TFSERVING_HOST": "models.internal"}, "models.internal:8500"),
        ({"APP_TFSERVING_HOST": "10.0.0.7", "APP_TFSERVING_PORT": "9000"}, "10.0.0.7:9000"),
        ({"APP_TFSERVING_HOST": "::1"}, "[::1]:8500"),
    ],
)
def test_the_model_server_is_host_and_port(environ: dict[str, str], target: str | None) -> None:
    assert Settings.from_environ(environ).tfserving_target == target


@pytest.mark.parametrize("host", ["http://models", "models:8500", "10.0.0.7:8500", "a b"])
def test_the_model_servers_host_is_a_name_or_address_only(host: str) -> None:
    assert "Name or address of the model server" in refusal_of({"APP_TFSERVING_HOST": host})


def test_the_model_servers_port_alone_is_refused() -> None:
    assert refusal_of({"APP_TFSERVING_PORT": "8500"}).startswith("APP_TFSERVING_PORT goes with APP_TFSERVING_HOST")


@pytest.mark.parametrize("name", ["TLS_CERT", "TLS_KEY"])
def test_a_certificate_and_its_key_go_together(name: str) -> None:
    assert refusal_of({name: __file__}) == "TLS_CERT and TLS_KEY go together: set both, or neither."


def test_a_certificate_and_its_key_are_taken_as_a_pair(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    (tmp_path / "key.pem").touch()
    settings = Settings.from_environ({"TLS_CERT": f"{tmp_path}/cert.pem", "TLS_KEY": f"{tmp_path}/key.pem"})

    assert (settings.tls_cert, settings.tls_key) == (tmp_path / "cert.pem", tmp_path / "key.pem")


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "key.pem")

    assert refusal_of({"TLS_CERT": __file__, "TLS_KEY": missing}) == f"TLS_KEY={missing!r}: there is no such file."


@pytest.mark.parametrize("name", ["UPLOAD_FOLDER", "IMAGE_FOLDER"])
@pytest.mark.parametrize("missing", ["missing", "x" * 5000, "file"])
def test_a_missing_folder_is_named(tmp_path: Path, name: str, missing: str) -> None:
    (tmp_path / "file").touch()
    path = f"{tmp_path}/{missing}"

    assert refusal_of({name: path}) == f"{name}={path!r}: there is no such folder."


def test_a_folder_that_exists_is_taken(tmp_path: Path) -> None:
    settings = Settings.from_environ({"UPLOAD_FOLDER": str(tmp_path), "IMAGE_FOLDER": str(tmp_path)})

    assert (settings.upload_folder, settings.image_folder) == (tmp_path, tmp_path)


@pytest.mark.parametrize("name", NOT_YET)
def test_a_promise_that_cannot_be_kept_yet_is_refused_by_name(name: str) -> None:
    assert refusal_of({name: "x"}).startswith(f"{name} is set, but this version cannot do what it asks for")
    assert Settings.from_environ({name: ""}) == Settings.from_environ({})


def test_settings_do_not_change() -> None:
    settings = Settings.from_environ({})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]

    assert settings.port == 5000
