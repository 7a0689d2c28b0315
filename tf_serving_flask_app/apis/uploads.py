"""What a request for a picture's evaluation holds: the picture and the model's name."""

from __future__ import annotations

from flask import Response, redirect, request
from werkzeug.exceptions import MethodNotAllowed

from tf_serving_flask_app.errors import InvalidInput


def model_name() -> str | None:
    """The model that the request names, in its form or its query."""
    return request.form.get("modelname") or request.args.get("modelname") or None


def uploaded_picture() -> bytes:
    """The picture in a request: the form's ``file``, or the whole body.

    Raises:
        InvalidInput: there is none; the text says how to send one.
    """
    if request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        return request.get_data(cache=False)
    if upload := request.files.get("file"):
        picture: bytes = upload.read()
        return picture
    raise InvalidInput(
        "No picture in the request; send it as the file 'file' of a multipart form (curl -F file=@picture.jpg), or as"
        " the body with Content-Type image/jpeg and the like."
    )


def lead_to_page() -> Response:
    """Send a person with a browser to the page, and tell a program that the route takes POST.

    Raises:
        MethodNotAllowed: the client did not ask for HTML.
    """
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) != "text/html":
        raise MethodNotAllowed(valid_methods=["POST", "OPTIONS"])
    return redirect("/", Response=Response)  # type: ignore[return-value]  # it is of the class handed in
