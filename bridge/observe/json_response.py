"""Answers of the HTTP endpoint in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

NO_STORE = {"Cache-Control": "no-store"}


def json_response(body: object, code: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """The answer; no cache keeps it."""
    # ASCII: a session id is a server's text, and one with a lone surrogate has no UTF-8 form.
    text = json.dumps(body) + "\n"
    return Response(text, code, media_type="application/json", headers=NO_STORE | dict(headers or {}))
