"""`/docs`: the page and its files, and nothing else of the machine."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient


def test_every_file_that_the_page_names_is_there_and_none_is_elsewhere(client: FlaskClient) -> None:
    page = client.get("/docs")
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    answers = {}
    for name in files:
        with client.get(f"/{name}") as response:
            answers[name] = response.status_code

    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert answers == {name: 200 for name in files if name.startswith("docs/")}
    assert len(files) == 4


@pytest.mark.parametrize("url", ["/docs", "/docs/start.js", "/docs/js/swagger-ui-bundle.js"])
def test_the_browser_is_told_to_run_only_what_this_server_sends(client: FlaskClient, url: str) -> None:
    with client.get(url) as response:
        headers = response.headers

    assert "default-src 'none'; script-src 'self';" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["nothing.js", "js", "../__init__.py", "%2e%2e/__init__.py", "js/%00"])
def test_what_is_no_file_of_the_page_is_not_found(client: FlaskClient, name: str) -> None:
    response = client.get(f"/docs/{name}")

    assert response.status_code == 404
    assert response.get_json().keys() == {"error"}
