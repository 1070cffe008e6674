"""Changes the log level of running daemons over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.admin.status.replicas import Endpoint, Outcome, own_headers
from bridge.clock import Deadline
from bridge.errors import SettingsError
from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost

_TIMEOUT = 5.0
_MAX_ANSWER = 64 * 1024
_REJECTED, _OK = 401, 200


def change_level(endpoint: Endpoint, token: str | None, change: Mapping[str, Any]) -> tuple[Outcome, str, bool]:
    """Ask one daemon. Returns the outcome, a text for people, and whether the level was changed. Never raises."""
    try:
        headers = own_headers(token) | {"content-type": b"application/json"}
        url = f"{endpoint.url}/api/log-level"
        with endpoint.transport(_TIMEOUT).put(url, headers, json.dumps(change).encode(), Cutter()) as response:
            body = response.read_all(_MAX_ANSWER, Deadline.after(_TIMEOUT))
            status = response.status
    except ConnectionLost as lost:
        return Outcome.AWAY, lost.detail, False
    except SettingsError as error:
        return Outcome.AWAY, str(error), False
    if status == _REJECTED:
        return Outcome.REFUSED, "it needs the token of http.token: set http.token or http.token_file", False
    if status == _OK:
        of = f" of {change['logger']}" if change.get("logger") else ""
        return Outcome.ANSWERED, f"level{of} is {change['level']} for {change.get('for', '10m')}", True
    return Outcome.ANSWERED, f"it refused this: {_reason(body, status)}", False


def _reason(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return f"HTTP status {status}"
