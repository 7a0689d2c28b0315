"""What a request for a picture's evaluation holds: the picture, and what goes with it."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from flask import Response, redirect, request
from pydantic import Field, model_validator
from werkzeug.exceptions import MethodNotAllowed

from tf_serving_flask_app.apis.documentation import Binary, Operation
from tf_serving_flask_app.apis.parameters import ModelQuery
from tf_serving_flask_app.apis.validation import filled, validate
from tf_serving_flask_app.apis.wire import read_body

PICTURE_ROUTES = {"classification": "/classify", "detection": "/detect"}
"""Task -> where a picture is posted for it."""


class PictureForm(ModelQuery):
    """A form with a picture."""

    file: Annotated[Binary, Field(description="The picture: JPEG, PNG, GIF, BMP, WebP or TIFF.")]

    @model_validator(mode="before")
    @classmethod
    def _has_a_file(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if "file" not in fields:
            raise ValueError(
                "No picture in the request; send it as the file 'file' of a multipart form"
                " (curl -F file=@picture.jpg), or as the body with Content-Type image/jpeg and the like."
            )
        return fields


Form = TypeVar("Form", bound=PictureForm)

RAW_BODIES = {"image/*": Binary, "application/octet-stream": Binary}
"""The bodies that are a picture and nothing else."""


def read_picture(kind: type[Form]) -> Form:
    """Read a picture, the form's ``file`` or the whole body, with what goes with it, the form's or else the query's.

    Raises:
        InvalidInput: there is none; the text says how to send one.
        HTTPException: the body cannot be had, see ``read_body``.
    """
    raw = request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream"
    fields = filled(request.args) | ({} if raw else filled(request.form))
    fields.pop("file", None)  # a text is no picture
    if raw:
        fields["file"] = read_body()
    elif upload := request.files.get("file"):
        fields["file"] = upload.read()
    return validate(kind, fields)


TO_PAGE = Operation("Lead a browser to the page; a program is told to POST", "Pictures", answers={302: None})
"""The documentation of ``lead_to_page``."""


def lead_to_page() -> Response:
    """Send a person with a browser to the page, and tell a program that the route takes POST.

    Raises:
        MethodNotAllowed: the client did not ask for HTML.
    """
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) != "text/html":
        raise MethodNotAllowed(valid_methods=["POST", "OPTIONS"])
    return redirect("/", Response=Response)  # type: ignore[return-value]  # it is of the class handed in
