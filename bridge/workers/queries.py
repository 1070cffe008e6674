"""The parent's requests to the endpoints of its workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from bridge.clock import Deadline
from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost
from bridge.http.headers import request_headers
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

    def ask_all(
        self, path: str, body: bytes | None = None, seconds: float = _TIMEOUT
    ) -> list[tuple[int, Answer | None]]:
        """The answers of all workers, by their number; None where there is none in time."""
        places = list(self._places())
        asked = [self._pool.submit(self._ask, each.port, path, body, seconds) for each in places]
        return [(each.number, future.result()) for each, future in zip(places, asked, strict=True)]

    def documents(self, path: str, codes: Mapping[int, str] | None = None, seconds: float = _TIMEOUT) -> list[OfWorker]:
        """The JSON documents of all workers."""
        allowed = codes or {200: ""}
        return [OfWorker(number, _document(answer, allowed)) for number, answer in self.ask_all(path, None, seconds)]

    def _ask(self, port: int | None, path: str, body: bytes | None, seconds: float) -> Answer | None:
        if port is None:
            return None
        found = None
        for token in self._tokens() or (None,):
            found = _answer(f"http://127.0.0.1:{port}{path}", token, body, seconds)
            if found is None or found.status != _UNAUTHORIZED:
                break
        return found


def _answer(url: str, token: str | None, body: bytes | None, seconds: float) -> Answer | None:
    transport, cutter = Transport(seconds, seconds), Cutter()
    try:
        headers = request_headers(dict, {"authorization": None if token is None else f"Bearer {token}"})
        sent = transport.get(url, headers, cutter) if body is None else transport.put(url, headers, body, cutter)
        with sent as found:
            return Answer(found.status, found.read_all(_MAX_BODY, Deadline.after(2 * seconds)).decode())
    except (ConnectionLost, UnicodeDecodeError):
        return None


def _document(answer: Answer | None, codes: Mapping[int, str]) -> Any:  # noqa: ANN401 - JSON
    if answer is None or answer.status not in codes:
        return None
    try:
        return json.loads(answer.text)
    except ValueError:
        return None
