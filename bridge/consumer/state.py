"""Whether `Events` may still yield, save and commit. Pure."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What happened to an `Events` object; the value says why it yields no more events, None: it does."""

    READY = None
    LEFT = (
        "its last loop was left by an exception or break before its events were saved, so their results may be rolled"
        " back; if all of them are complete, call commit before the new loop"
    )
    INTERRUPTED = "an exception interrupted it while it read a record, so a new loop could skip that record"
    FAILED = (
        "its store raised an exception, or a partition was revoked after the loop was left with an event of it; so"
        " results may be rolled back that the next save would count as done. Nothing more is saved or committed"
    )

    def check_loop(self) -> None:
        """Raise ``RuntimeError`` if the object yields no more events."""
        if self is not State.READY:
            raise RuntimeError(
                f"this Events cannot continue: {self.value}. Otherwise roll back your own transaction, close the"
                " consumer, and create a new consumer and a new Events: what was not committed comes again"
            )

    def check_commit(self) -> None:
        """Raise ``RuntimeError`` if the object commits nothing more."""
        if self is State.FAILED:
            self.check_loop()
