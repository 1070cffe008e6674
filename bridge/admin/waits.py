"""Waits of the commands: with a call after a while, or for a thread that is abandoned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from bridge.clock import Deadline

T = TypeVar("T")


@contextmanager
def calling_after(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    """Call it on another thread if the block takes longer. Once the block is left, it has ended or never comes."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # the call may have begun


class Work(Generic[T]):
    """A generator that runs on its own thread, which is abandoned if it does not end."""

    def __init__(self, name: str, work: Callable[[], Iterable[T]]) -> None:
        self.has_ended = False
        self._work = work
        self._results: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def join(self, deadline: Deadline) -> list[T]:
        """Wait for its end until the deadline and return the results so far. Raises what the generator raised."""
        self._thread.join(deadline.remaining)
        if self._error is not None:
            raise self._error
        return self._results

    def _run(self) -> None:
        try:
            for each in self._work():
                self._results.append(each)
            self.has_ended = True
        except Exception as error:  # noqa: BLE001 - raised again by ``join``
            self._error = error
