"""The parent's requests to the endpoints of its workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from bridge.clock import Deadline
from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost
from bridge.http.request_headers import request_headers
from bridge.http.transport import Transport
from bridge.workers.merge import OfWorker

_TIMEOUT: Final = 3.0
"""Seconds: a worker answers from its memory; a busy one needs more than usual."""
_MAX_BODY: Final = 64 * 1024 * 1024
_UNAUTHORIZED: Final = 401
_MOST: Final = 16
"""Requests at the same time."""


class Place(NamedTuple):
    """Where a worker's endpoint is; None: it does not listen yet."""

    number: int
    port: int | None


class Answer(NamedTuple):
    """A response of a worker."""

    status: int
    text: str


class Workers:
    """Thread rule: any thread, which waits for the answers."""

    def __init__(self, places: Callable[[], Sequence[Place]], tokens: Callable[[], Sequence[str]]) -> None:
        """``tokens``: those of the endpoint that are valid now: a worker gets a new one a little earlier or later."""
        self._places = places
        self._tokens = tokens
        self._pool = ThreadPoolExecutor(_MOST, thread_name_prefix="workers")

    def ask_all(self, path: str, body: bytes | None = None) -> list[tuple[int, Answer | None]]:
        """The answers of all workers, by their number; None where there is none in time."""
        places = list(self._places())
        asked = [self._pool.submit(self._ask, each.port, path, body) for each in places]
        return [(each.number, future.result()) for each, future in zip(places, asked, strict=True)]

    def urls(self) -> list[str]:
        """Where the workers that listen are, on this machine."""
        return [_url(each.port) for each in self._places() if each.port is not None]

    def documents(self, path: str, codes: Mapping[int, str] | None = None) -> list[OfWorker]:
        """The JSON documents of all workers."""
        allowed = codes or {200: ""}
        return [OfWorker(number, _document(answer, allowed)) for number, answer in self.ask_all(path)]

    def _ask(self, port: int | None, path: str, body: bytes | None) -> Answer | None:
        if port is None:
            return None
        found = None
        for token in self._tokens() or (None,):
            found = _answer(f"{_url(port)}{path}", token, body)
            if found is None or found.status != _UNAUTHORIZED:
                break
        return found


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _answer(url: str, token: str | None, body: bytes | None) -> Answer | None:
    transport, cutter = Transport(_TIMEOUT, _TIMEOUT), Cutter()
    try:
        headers = request_headers(dict, {"authorization": None if token is None else f"Bearer {token}"})
        sent = transport.get(url, headers, cutter) if body is None else transport.put(url, headers, body, cutter)
        with sent as found:
            return Answer(found.status, found.read_all(_MAX_BODY, Deadline.after(2 * _TIMEOUT)).decode())
    except (ConnectionLost, UnicodeDecodeError):
        return None


def _document(answer: Answer | None, codes: Mapping[int, str]) -> Any:  # noqa: ANN401 - JSON
    if answer is None or answer.status not in codes:
        return None
    try:
        return json.loads(answer.text)
    except ValueError:
        return None
