"""Single exchanges with a running daemon: another log level, and what a support bundle holds of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from bridge.admin.status.replicas import Endpoint, Outcome
from bridge.clock import Deadline
from bridge.errors import SettingsError
from bridge.http.errors import ConnectionLost

_CHANGE_TIMEOUT: Final = 5.0
_MAX_ANSWER: Final = 64 * 1024
_TIMEOUT: Final = 10.0
_MAX_BODY: Final = 64 * 1024 * 1024
_PATHS: Final = {
    "livez.json": "/livez",
    "readyz.json": "/readyz",
    "status.json": "/api/status",
    "metrics.txt": "/metrics",
    "support.json": "/api/support",
}
_OK: Final = frozenset({200, 503})
_REJECTED: Final = 401


class Part(NamedTuple):
    """One file of the bundle, or why it is missing."""

    name: str
    content: bytes | None
    trouble: str | None = None
    is_rejected: bool = False


def change_level(endpoint: Endpoint, token: str | None, change: Mapping[str, Any]) -> tuple[Outcome, str, bool]:
    """Ask one daemon. Returns the outcome, a text for people, and whether the level was changed. Never raises."""
    body = json.dumps(change).encode()
    answer = _exchange(endpoint, "/api/log-level", token, body)
    if isinstance(answer, str):
        return Outcome.AWAY, answer, False
    status, content = answer
    if status == _REJECTED:
        return Outcome.REFUSED, "it needs the token of http.token: set http.token or http.token_file", False
    if status == 200:  # noqa: PLR2004 - HTTP's number
        of = f" of {change['logger']}" if change.get("logger") else ""
        return Outcome.ANSWERED, f"level{of} is {change['level']} for {change.get('for', '10m')}", True
    try:
        reason = str(json.loads(content)["error"])
    except (ValueError, TypeError, KeyError):
        reason = f"HTTP status {status}"
    return Outcome.ANSWERED, f"it refused this: {reason}", False


def parts_of(endpoint: Endpoint, token: str | None) -> Iterator[Part]:
    """Ask a daemon for everything; never raises."""
    for name, path in _PATHS.items():
        answer = _exchange(endpoint, path, token)
        if isinstance(answer, str):
            yield Part(name, None, answer)
        elif answer[0] not in _OK:
            yield Part(name, None, f"HTTP status {answer[0]}", is_rejected=answer[0] == _REJECTED)
        elif name == "support.json":
            yield from _split(answer[1])
        else:
            yield Part(name, answer[1])


def _exchange(endpoint: Endpoint, path: str, token: str | None, body: bytes | None = None) -> tuple[int, bytes] | str:
    """Return the status and the body of the response, or why there is none."""
    timeout, most = (_TIMEOUT, _MAX_BODY) if body is None else (_CHANGE_TIMEOUT, _MAX_ANSWER)
    try:
        with endpoint.request(path, token, timeout, body) as response:
            return response.status, response.read_all(most, Deadline.after(timeout))
    except ConnectionLost as lost:
        return lost.detail
    except SettingsError as error:
        return str(error)


def _split(body: bytes) -> Iterator[Part]:
    """The log lines and the stacks as files of their own; those of several workers in folders."""
    try:
        found: dict[str, Any] = json.loads(body)
        each_process = {"": found}
        if "workers" in found:
            each_process = {f"worker-{number}/": each for number, each in found["workers"].items() if each is not None}
            each_process = {"parent/": found["parent"]} | each_process
        for prefix, each in each_process.items():
            yield Part(f"{prefix}log.txt", "".join(each["log"]).encode(errors="replace"))
            yield Part(f"{prefix}stacks.txt", each["stacks"].encode(errors="replace"))
            yield Part(f"{prefix}versions.json", json.dumps(each["versions"], indent=2).encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Part("support.json", body)
