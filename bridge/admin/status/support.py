"""Collects what a support bundle holds of one running daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from bridge.admin.status.replicas import Endpoint, own_headers
from bridge.clock import Deadline
from bridge.errors import SettingsError
from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost

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


def parts_of(endpoint: Endpoint, token: str | None) -> Iterator[Part]:
    """Ask a daemon for everything; never raises."""
    for name, path in _PATHS.items():
        part = _part(endpoint, token, name, path)
        if name == "support.json" and part.content is not None:
            yield from _split(part.content)
        else:
            yield part


def _part(endpoint: Endpoint, token: str | None, name: str, path: str) -> Part:
    try:
        transport = endpoint.transport(_TIMEOUT)
        with transport.get(endpoint.url + path, own_headers(token), Cutter(), follow_redirects=False) as response:
            body = response.read_all(_MAX_BODY, Deadline.after(_TIMEOUT))
            status = response.status
    except ConnectionLost as lost:
        return Part(name, None, lost.detail)
    except SettingsError as error:
        return Part(name, None, str(error))
    if status not in _OK:
        return Part(name, None, f"HTTP status {status}", is_rejected=status == _REJECTED)
    return Part(name, body)


def _split(body: bytes) -> Iterator[Part]:
    """The log lines and the stacks as files of their own; those of several workers in folders."""
    try:
        found: Mapping[str, Any] = json.loads(body)
        for prefix, each in _each_process(found):
            yield Part(f"{prefix}log.txt", "".join(each["log"]).encode(errors="replace"))
            yield Part(f"{prefix}stacks.txt", each["stacks"].encode(errors="replace"))
            yield Part(f"{prefix}versions.json", json.dumps(each["versions"], indent=2).encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Part("support.json", body)


def _each_process(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "workers" not in found:
        yield "", found
        return
    yield "parent/", found["parent"]
    for number, each in found["workers"].items():
        if each is not None:
            yield f"worker-{number}/", each
