"""`/docs`: Swagger UI over `/openapi.json`, its files taken from an installed package, so that no other host is asked.

The package is looked up and not imported: it would bring a whole framework with it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Response, send_from_directory

from tf_serving_flask_app.apis.documentation import Operation, documented

PACKAGE = "flask_openapi3_swagger"

# Every address is relative, so that the page also works below a prefix.
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tf_serving_flask_app</title>
<link rel="icon" href="docs/images/swagger.svg">
<link rel="stylesheet" href="docs/css/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/js/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null
});
"""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Swagger UI draws icons from data URLs, and shows pictures of answers from blobs."""


def create_blueprint() -> Blueprint:
    """Make the page and its files."""
    blueprint = Blueprint("docs", __name__)
    files = _files()

    @blueprint.get("/docs")
    @documented(
        Operation("This documentation as a page, to try the routes out", "Server", answers={200: {"text/html": str}})
    )
    def docs() -> Response:
        return Response(PAGE, mimetype="text/html", headers=HEADERS)

    @blueprint.get("/docs/start.js")
    @documented(Operation("", "", hidden=True))
    def start() -> Response:
        return Response(START, mimetype="text/javascript", headers=HEADERS)

    @blueprint.get("/docs/<path:name>")
    @documented(Operation("", "", hidden=True))
    def file(name: str) -> Response:
        response = send_from_directory(files, name)
        response.headers.update(HEADERS)
        return response

    return blueprint


def _files() -> Path:
    """The folder of Swagger UI's files."""
    package = find_spec(PACKAGE)
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "templates" / "swagger"
