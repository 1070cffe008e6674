"""Whether `Events` may still yield, save and commit. Pure."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What happened to an `Events` object; the value says why it yields no more events, None: it does."""

    READY = None
    FAILED = (
        "its store raised an exception, so results may be rolled back that the next save would count as done;"
        " nothing more is saved or committed"
    )

    def check(self) -> None:
        """Raise ``RuntimeError`` if the object yields no more events."""
        if self is not State.READY:
            raise RuntimeError(
                f"this Events cannot continue: {self.value}. Roll back your own transaction, close the consumer, and"
                " create a new consumer and a new Events: the events since the last save come again"
            )
