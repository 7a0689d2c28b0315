"""`/docs` in a real browser: it shows every operation, asks no other host, and tries one out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.conftest import Browser
from tests.live.conftest import NUMPY_SPEC
from tests.live.server import LiveServer
from tests.pictures import picture

SHOWN_S = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    spec = tmp_path_factory.mktemp("docs") / "numpy.spec"
    spec.write_text(NUMPY_SPEC)
    with LiveServer("-s", spec, environ={"WEB_CONCURRENCY": "1"}) as server:
        yield server


@pytest.fixture
def page(loaded: Browser, server: LiveServer) -> Iterator[Browser]:
    """The page; whatever a test does, it asks no other host and complains of nothing."""
    yield loaded
    assert {urlsplit(url).netloc for url in loaded.requested()} <= {urlsplit(server.url).netloc}
    assert loaded.complaints() == []


@pytest.fixture(scope="module")
def loaded(browser: Browser, server: LiveServer) -> Browser:
    """The page, with all its operations shown."""
    browser.driver.get(f"{server.url}/docs")
    operations = sum(len(methods) for methods in server.get("/openapi.json").json()["paths"].values())
    WebDriverWait(browser.driver, SHOWN_S).until(
        lambda driver: len(driver.find_elements(By.CSS_SELECTOR, ".opblock")) == operations
    )
    return browser


def opened(page: Browser, path: str) -> WebElement:
    """The operation of a path, opened."""
    block: WebElement = page.driver.find_element(
        By.CSS_SELECTOR, f'.opblock-summary-path[data-path="{path}"]'
    ).find_element(By.XPATH, "ancestor::div[contains(concat(' ', @class, ' '), ' opblock ')]")
    if "is-open" not in (block.get_attribute("class") or ""):
        block.find_element(By.CSS_SELECTOR, ".opblock-summary-control").click()
    WebDriverWait(page.driver, SHOWN_S).until(lambda _: block.find_elements(By.CSS_SELECTOR, ".btn.execute"))
    return block


def execute(page: Browser, block: WebElement) -> tuple[int, Any]:
    """Press Execute; status and body of the answer, as the page shows them."""
    button = block.find_element(By.CSS_SELECTOR, ".btn.execute")
    page.driver.execute_script("arguments[0].click()", button)

    def answer(_: object) -> tuple[str, str] | None:
        row = block.find_element(By.CSS_SELECTOR, ".live-responses-table .response")
        status = row.find_element(By.CSS_SELECTOR, ".response-col_status").text
        body = row.find_element(By.CSS_SELECTOR, ".response-col_description pre").text
        return (status, body) if status and body else None

    # The page draws the parts of an answer one after the other, and some of them twice.
    wait = WebDriverWait(page.driver, SHOWN_S, ignored_exceptions=[StaleElementReferenceException])
    found = wait.until(answer)
    assert found is not None
    status, body = found
    return int(status.split()[0]), json.loads(body)


def test_the_page_comes_from_this_host_alone_and_complains_of_nothing(page: Browser, server: LiveServer) -> None:
    requested = page.requested()

    assert {urlsplit(url).netloc for url in requested} == {urlsplit(server.url).netloc}
    assert f"{server.url}/openapi.json" in requested
    assert page.complaints() == []


def test_each_model_has_a_section_with_its_real_names_types_and_shapes(page: Browser) -> None:
    text = page.driver.find_element(By.TAG_NAME, "body").text

    assert "Model half_plus_two" in text
    assert "x: float32[-1]" in text


def test_a_form_that_nobody_has_touched_but_for_its_file_is_answered(page: Browser, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture("red"))
    block = opened(page, "/classify")
    block.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(tmp_path / "red.png"))
    status, answer = execute(page, block)

    assert status == 200
    assert answer["class"] == "red"


def test_an_example_of_a_model_is_answered_when_it_is_tried_out(page: Browser) -> None:
    assert execute(page, opened(page, "/predict/half_plus_two")) == (200, {"y": [2.0]})


def test_a_picture_is_uploaded_by_a_file_field(page: Browser, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture("red"))
    block = opened(page, "/predict/colors")
    block.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(tmp_path / "red.png"))
    status, answer = execute(page, block)

    assert status == 200
    assert answer == {"scores": pytest.approx([1, 0, 0], abs=1e-6)}
