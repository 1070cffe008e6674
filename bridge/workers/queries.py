"""The parent's requests to the endpoints of its workers.

It asks for their health on a thread: a worker that hangs must not make the parent hang.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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

    def documents(self, path: str, codes: Collection[int] = (200,), seconds: float = _TIMEOUT) -> list[OfWorker]:
        return [OfWorker(number, _document(answer, codes)) for number, answer in self.ask_all(path, None, seconds)]

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


def _document(answer: Answer | None, codes: Collection[int]) -> Any:  # noqa: ANN401 - JSON
    if answer is None or answer.status not in codes:
        return None
    try:
        return json.loads(answer.text)
    except ValueError:
        return None


LOOK: Final = 2.0
"""Seconds between two looks."""
HEALTH: Final = (200, 503)
"""The codes of an answer about health."""


class Health(NamedTuple):
    """What the workers answered, by their number."""

    alive: frozenset[int]
    """Those whose ``/livez`` is good."""
    restored: frozenset[int]
    """Those that have restored their first shards."""


class HealthChecks:
    """Thread rule: one thread; the requests run on others."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._found: queue.SimpleQueue[Health | None] = queue.SimpleQueue()
        self._is_looking = False
        self._looked_at = 0.0

    def next(self, now: float) -> Health | None:
        """The result of a look that has just ended; begins the next one when it is time.

        None also for a look that failed, because the workers use up all threads that the system allows.
        """
        found = None
        with suppress(queue.Empty):
            found = self._found.get_nowait()
            self._is_looking = False
        if not self._is_looking and now - self._looked_at >= LOOK:
            self._looked_at = now
            with suppress(RuntimeError):
                threading.Thread(target=self._look, name="look", daemon=True).start()
                self._is_looking = True
        return found

    def _look(self) -> None:
        found = None
        try:
            with suppress(RuntimeError):
                found = self._asked()
        finally:  # otherwise no look would ever follow
            self._found.put(found)

    def _asked(self) -> Health:
        answers = self._workers.ask_all("/livez")
        alive = {number for number, answer in answers if answer is not None and answer.status == 200}  # noqa: PLR2004 - HTTP's number
        ready = self._workers.documents("/readyz", HEALTH)
        restored = {each.number for each in ready if each.body is not None and _is_restored(each.body)}
        return Health(frozenset(alive), frozenset(restored))


def _is_restored(body: Mapping[str, Any]) -> bool:
    return any(check.get("name") == "restore" and check.get("ok") for check in body.get("checks", ()))
