"""The image's HEALTHCHECK: exit code 0 if the server in this container is ready, else 1 and the reason.

It asks ``/readyz`` on ``PORT``, by TLS where ``TLS_CERT`` is set. Python asks, as the image has no curl.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping

TIMEOUT_S = 4.0
"""A second less than Docker waits, so that the reason is still printed."""


def readiness(environ: Mapping[str, str]) -> tuple[int, str]:
    """Ask the server of this container for the status and body of its ``/readyz``.

    Raises:
        OSError: nothing answers there.
        http.client.HTTPException: what answers is no HTTP server.
    """
    port = int(environ.get("PORT") or 5000)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    if environ.get("TLS_CERT"):
        # The certificate is made out to the name that clients use, not to loopback.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def main() -> int:
    """Print what the server says; returns the exit code that Docker expects."""
    try:
        status, answer = readiness(os.environ)
    except (OSError, http.client.HTTPException) as exc:
        print(f"{type(exc).__name__}: {exc}")
        return 1
    print(answer)
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
