"""Asks running daemons over HTTP: for their status, all at the same time, for another log level, and for support."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from bridge.admin.waits import Work
from bridge.clock import Deadline
from bridge.errors import SettingsError
from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost, EndKind
from bridge.http.headers import request_headers
from bridge.http.response import Response
from bridge.http.transport import Transport
from bridge.settings.tls import own_context

_TIMEOUT = 5.0
"""Seconds for the connection and for each receive, and half of the time for all responses of one daemon."""
_MAX_BODY = 64 * 1024 * 1024
"""Bytes of a response: 200,000 sessions. A larger response does not come from mix-bridge."""
_READY, _STATUS = "/readyz", "/api/status"
_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}
_FILES: Final = {
    "livez.json": "/livez",
    "readyz.json": _READY,
    "status.json": _STATUS,
    "metrics.txt": "/metrics",
    "support.json": "/api/support",
}
"""Of a support bundle, with their paths."""
_CHANGE_TIMEOUT, _PART_TIMEOUT = 5.0, 10.0
"""Seconds for another log level, and for each file of a support bundle."""
_MAX_ANSWER = 64 * 1024
_REJECTED = 401


class BadUrl(ValueError):
    """The text is not the URL of an HTTP endpoint. The message does not repeat the text."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a daemon's HTTP endpoint is."""

    host: str
    port: int
    tls: bool = False
    prefix: str = ""
    """The path before the endpoint's own paths, behind a proxy."""
    certificate: str | None = None
    """The file with the daemon's own certificate (``http.cert_file``): it is trusted for every host name."""

    @classmethod
    def of(cls, text: str) -> Endpoint:
        """Parse a URL or ``host:port``. Raises `BadUrl`."""
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadUrl("it is not a URL") from error
        if parts.scheme not in {"http", "https"} or not host or not text.isprintable() or " " in text or "\\" in text:
            raise BadUrl("allowed: http://HOST:PORT")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise BadUrl("allowed: http://HOST:PORT and nothing else; set a token with http.token or http.token_file")
        prefix = parts.path.rstrip("/")
        for path in _FILES.values():
            prefix = prefix.removesuffix(path)
        tls = parts.scheme == "https"
        return cls(host, port or (443 if tls else 80), tls, prefix.rstrip("/"))

    @property
    def url(self) -> str:
        """The endpoint's URL without its paths."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.prefix}"

    def request(self, path: str, token: str | None, timeout: float, body: bytes | None = None) -> Response:
        """Send a GET, or a PUT with JSON. Raises ``ConnectionLost``, or ``SettingsError`` about its certificate."""
        context = None if self.certificate is None else own_context(self.certificate)
        transport, url = Transport(timeout, timeout, tls=context), self.url + path
        headers = request_headers(dict, _HEADERS | {"authorization": None if token is None else f"Bearer {token}"})
        if body is None:
            return transport.get(url, headers, Cutter(), follow_redirects=False)
        return transport.put(url, headers | {"content-type": b"application/json"}, body, Cutter())


class Outcome(Enum):
    """The result of a query."""

    ANSWERED = auto()
    AWAY = auto()
    """No response, or not one of mix-bridge."""
    REFUSED = auto()
    """It rejected the token."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One daemon and its present status."""

    url: str
    outcome: Outcome
    error: str | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    """The body of ``/api/status``."""
    ready: bool = False
    failing: tuple[str, ...] = ()
    """The details of the failing checks of ``/readyz``."""

    def document(self) -> dict[str, Any]:
        """The JSON document for programs."""
        if self.outcome is not Outcome.ANSWERED:
            return {"url": self.url, "error": self.error}
        return {"url": self.url, "ready": self.ready, "failing": list(self.failing), "status": self.status}


def ask_all(endpoints: Sequence[Endpoint], token: str | None, timeout: float = _TIMEOUT) -> list[Replica]:
    """Query every daemon, in the order given. Takes at most twice ``timeout`` seconds."""
    deadline = Deadline.after(2 * timeout)
    asked = [Work(f"query {each.url}", partial(_answer, each, token, timeout, deadline)) for each in endpoints]
    late = f"no complete response within {2 * timeout:g} s"
    return [
        next(iter(work.join(deadline)), Replica(each.url, Outcome.AWAY, late))
        for each, work in zip(endpoints, asked, strict=True)
    ]


def tables(value: object) -> list[dict[str, Any]]:
    """The JSON objects of a list. Anything else is left out: daemons of other versions answer too."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _answer(endpoint: Endpoint, token: str | None, timeout: float, deadline: Deadline) -> list[Replica]:
    try:
        # /readyz first: a daemon that becomes ready in between must not be shown as unready beside streaming sessions.
        ready, status = (_json_object(endpoint, path, token, timeout, deadline) for path in (_READY, _STATUS))
    except _TokenRejected:
        why = "it needs the token of http.token" if token is None else "it rejected this token"
        return [Replica(endpoint.url, Outcome.REFUSED, f"{why}: set http.token or http.token_file")]
    except _NotMixBridge as error:
        return [Replica(endpoint.url, Outcome.AWAY, f"something else listens there: {error}")]
    except ConnectionLost as lost:
        is_foreign = lost.kind in {EndKind.BROKEN, EndKind.TOO_LARGE}
        why = ("something else listens there: " if is_foreign else "") + lost.detail
        return [Replica(endpoint.url, Outcome.AWAY, why)]
    failing = []
    for each in tables(ready.get("checks")):
        if each.get("ok") is False:
            # Behind the parent of several workers, the name of the check begins with that of the worker.
            worker, detail = str(each.get("name")).partition(":")[0], str(each.get("detail"))
            failing.append(f"{worker}: {detail}" if worker.startswith("worker-") else detail)
    return [Replica(endpoint.url, Outcome.ANSWERED, None, status, ready.get("ok") is True, tuple(failing))]


class _TokenRejected(Exception):
    """HTTP 401."""


class _NotMixBridge(Exception):
    """A response that mix-bridge never sends."""


def _json_object(
    endpoint: Endpoint, path: str, token: str | None, timeout: float, deadline: Deadline
) -> dict[str, Any]:
    with endpoint.request(path, token, timeout) as response:
        if response.status == _REJECTED:
            raise _TokenRejected
        if response.status not in ({200, 503} if path == _READY else {200}):
            raise _NotMixBridge(f"HTTP {response.status} for {path}")
        try:
            body = json.loads(response.read_all(_MAX_BODY, deadline))
        except (ValueError, RecursionError):
            body = None
    if not isinstance(body, dict):
        raise _NotMixBridge(f"no JSON object for {path}")
    if path == _STATUS and not isinstance(body.get("sessions"), list):
        raise _NotMixBridge(f"no sessions in {path}")
    return body


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
    for name, path in _FILES.items():
        answer = _exchange(endpoint, path, token)
        if isinstance(answer, str):
            yield Part(name, None, answer)
        elif answer[0] not in {200, 503}:
            yield Part(name, None, f"HTTP status {answer[0]}", is_rejected=answer[0] == _REJECTED)
        elif name == "support.json":
            yield from _split(answer[1])
        else:
            yield Part(name, answer[1])


def _exchange(endpoint: Endpoint, path: str, token: str | None, body: bytes | None = None) -> tuple[int, bytes] | str:
    """Return the status and the body of the response, or why there is none."""
    timeout, most = (_PART_TIMEOUT, _MAX_BODY) if body is None else (_CHANGE_TIMEOUT, _MAX_ANSWER)
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
