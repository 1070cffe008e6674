"""Notices topics that were deleted and created again: there Kafka does not know the producer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial

Ids = Mapping[str, str | None]
"""Topic ids by name; None where the brokers have none."""


def in_thread(work: Callable[[], None]) -> None:
    """Ask Kafka something in a thread of its own."""
    threading.Thread(target=work, name="question to Kafka", daemon=True).start()


class TopicIds:
    """The ids of the topics since the producers were made. Thread rule: the delivery thread."""

    def __init__(
        self, ids: Ids, request: Callable[[], Ids | None], start: Callable[[Callable[[], None]], None] = in_thread
    ) -> None:
        """``ids``: at the start; empty: topics are not described.

        ``request`` returns None when Kafka does not answer. It may take seconds, so ``start`` runs it in a thread.
        """
        self._start = start
        self._ids = dict(ids)
        self._request = request
        self._answer: Future[Ids | None] = Future()

    def ask(self) -> None:
        """Request the ids as they are now; never waits."""
        self._answer = answer = Future[Ids | None]()
        if not self._ids:
            answer.set_result({})
        else:
            self._start(partial(self._run, answer))

    def _run(self, answer: Future[Ids | None]) -> None:
        try:
            answer.set_result(self._request())
        except Exception as bug:  # noqa: BLE001 - raised in the delivery thread
            answer.set_exception(bug)

    @property
    def is_answered(self) -> bool:
        """Whether the last ``ask`` has an answer."""
        return self._answer.done()

    def recreated(self) -> frozenset[str] | None:
        """The topics that have another id than when this was last asked; None: that is not known."""
        now = self._answer.result(0)
        if now is None:
            return None
        changed = frozenset(name for name, known in self._ids.items() if now.get(name) != known)
        self._ids.update({name: now.get(name) for name in changed})
        return changed
