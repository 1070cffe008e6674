"""What running daemons answer: each asked over HTTP, all at the same time, within seconds."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from bridge.clock import monotonic

_PATIENCE = 5.0
"""Seconds for a connection and for each piece of an answer, and half of what all of it may take: an endpoint that drips
is as good as none."""
_LARGEST = 64 * 1024 * 1024
"""Bytes of an answer: 200,000 sessions. Whoever says more is no mix-bridge."""
_READY, _STATUS = "/readyz", "/api/status"
_PATHS = (_STATUS, _READY, "/livez", "/metrics")


class BadUrl(ValueError):
    """A text that names no HTTP endpoint; says why without repeating it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a daemon's HTTP endpoint is."""

    host: str
    port: int
    tls: bool = False
    prefix: str = ""
    """What stands before its paths, behind a proxy."""

    @classmethod
    def of(cls, text: str) -> Endpoint:
        """Of a URL, or of ``host:port``. Raises `BadUrl`."""
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadUrl("it is no URL") from error
        if parts.scheme not in {"http", "https"} or not host or not text.isprintable() or " " in text:
            raise BadUrl("it takes http://HOST:PORT")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise BadUrl(
                "it takes http://HOST:PORT and nothing else; a token is given by http.token or http.token_file"
            )
        prefix = parts.path.rstrip("/")
        for path in _PATHS:
            prefix = prefix.removesuffix(path)
        tls = parts.scheme == "https"
        return cls(host, port or (443 if tls else 80), tls, prefix.rstrip("/"))

    @property
    def url(self) -> str:
        """As people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.prefix}"


class Outcome(Enum):
    """What came of asking."""

    ANSWERED = auto()
    AWAY = auto()
    """Nobody answers, or somebody who is no mix-bridge."""
    REFUSED = auto()
    """It wants another token."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One daemon as it answers now."""

    url: str
    outcome: Outcome
    error: str | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    """The body of ``/api/status``."""
    ready: bool = False
    failing: tuple[str, ...] = ()
    """Of the checks behind ``/readyz``, what those that fail say."""

    def document(self) -> dict[str, Any]:
        """For programs."""
        if self.outcome is not Outcome.ANSWERED:
            return {"url": self.url, "error": self.error}
        return {"url": self.url, "ready": self.ready, "failing": list(self.failing), "status": self.status}


def ask_all(endpoints: Sequence[Endpoint], token: str | None, patience: float = _PATIENCE) -> list[Replica]:
    """Ask every daemon, in the order given; takes twice ``patience`` seconds at most, and never raises."""
    asking = [_Asking(each, token, patience) for each in endpoints]
    end = monotonic() + 2 * patience
    return [each.answer(end) for each in asking]


class _Asking:
    """One question on a thread of its own, which is abandoned when the answer takes too long."""

    def __init__(self, endpoint: Endpoint, token: str | None, patience: float) -> None:
        self._endpoint = endpoint
        self._token = token
        self._patience = patience
        self._found: Replica | None = None
        self._thread = threading.Thread(target=self._run, name=f"ask {endpoint.url}", daemon=True)
        self._thread.start()

    def answer(self, end: float) -> Replica:
        self._thread.join(max(0.0, end - monotonic()))
        late = Replica(self._endpoint.url, Outcome.AWAY, f"no whole answer within {2 * self._patience:g} s")
        return self._found or late

    def _run(self) -> None:
        url = self._endpoint.url
        try:
            self._found = _asked(self._endpoint, self._token, self._patience)
        except _Refused:
            wanted = "it wants the token of http.token" if self._token is None else "it does not take this token"
            self._found = Replica(url, Outcome.REFUSED, f"{wanted}: give http.token or http.token_file")
        except _Foreign as error:
            self._found = Replica(url, Outcome.AWAY, f"something else listens there: {error}")
        except HTTPException:  # some of them are errors of the system as well
            self._found = Replica(url, Outcome.AWAY, "something else listens there: it does not speak HTTP")
        except TimeoutError:
            self._found = Replica(url, Outcome.AWAY, f"no answer within {self._patience:g} s")
        except OSError as error:
            said = getattr(error, "verify_message", None) or error.strerror or type(error).__name__
            self._found = Replica(url, Outcome.AWAY, f"cannot be reached: {said}")


class _Refused(Exception):
    """HTTP 401."""


class _Foreign(Exception):
    """An answer that no mix-bridge gives."""


def _asked(endpoint: Endpoint, token: str | None, patience: float) -> Replica:
    # Ready first: a daemon that has just become so must not be called unready beside sessions that stream.
    headers = {"Accept": "application/json", "Connection": "close"}
    headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
    ready = _get(endpoint, _READY, headers, patience)
    status = _get(endpoint, _STATUS, headers, patience)
    if not isinstance(status.get("sessions"), list):
        raise _Foreign("no sessions in /api/status")
    failing = tuple(str(each.get("detail")) for each in tables(ready.get("checks")) if each.get("ok") is False)
    return Replica(endpoint.url, Outcome.ANSWERED, None, status, ready.get("ok") is True, failing)


def tables(value: object) -> list[dict[str, Any]]:
    """The JSON objects of a list, whatever else it holds or is: daemons of other versions answer too."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _get(endpoint: Endpoint, path: str, headers: Mapping[str, str], patience: float) -> dict[str, Any]:
    """Over a connection of its own, past every proxy of the environment; redirections are not followed."""
    make = HTTPSConnection if endpoint.tls else HTTPConnection
    connection = make(endpoint.host, endpoint.port, timeout=patience)
    try:
        connection.request("GET", endpoint.prefix + path, headers=dict(headers))
        return _body(connection.getresponse(), path)
    finally:
        connection.close()


def _body(response: HTTPResponse, path: str) -> dict[str, Any]:
    if response.status == 401:  # noqa: PLR2004 - HTTP's number
        raise _Refused
    if response.status not in ({200, 503} if path == _READY else {200}):
        raise _Foreign(f"HTTP {response.status} for {path}")
    raw = response.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise _Foreign(f"more than {_LARGEST} bytes for {path}")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _Foreign(f"no JSON object for {path}")
    return body
