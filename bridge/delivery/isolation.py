"""What is known of a session's records that Kafka did not take: which are suspected, which are guilty, when to try."""

from __future__ import annotations

from collections.abc import Iterable

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.in_flight import Announcement, Entry, Stage
from bridge.delivery.refusals import RefusedRecord
from bridge.kafka.errors import ErrorScope, ProduceError, is_for_age, scope_of

log = get_logger("bridge.delivery")

_RETRY_FIRST, _RETRY_LONGEST = 0.5, 30.0
"""Seconds between two attempts at a topic that does not take records: quick at first, never a flood."""


class Isolation:
    """Of one session that is delivered exactly once.

    Kafka refuses whole batches. So whatever shared a refused record's batch is suspected, and goes in a batch of its
    own when it is sent again: who is refused then is guilty. A topic that takes nothing accuses nobody, and is tried
    with one record, now and then. Thread rule: the shard's thread, or under the window's lock.
    """

    def __init__(self, key: SessionKey) -> None:
        self.has_failed = False
        """Something of the present transaction failed: it is to be aborted."""
        self.is_isolated = False
        """The session has transactions of its own, until it is known to disturb nobody."""
        self.is_late = False
        """Kafka found a record too old for its topic: they go with the present time."""
        self.was_purged = False
        """Something had not been taken when the transaction was given up."""
        self.retry_at = 0.0
        self.alone: Entry | None = None
        """What was sent in a batch of its own last."""
        self._key = key
        self._place_failed = False
        self._suspects: set[Entry] = set()
        self._rejected: dict[Entry, RefusedRecord] = {}
        self._retry_delay = _RETRY_FIRST

    def goes_alone(self, entry: Entry, tried: int) -> bool:
        """Whether this one must have a batch of its own, ``tried`` having gone before it."""
        return entry in self._suspects or (self._place_failed and not tried)

    def rejection_of(self, entry: Entry) -> RefusedRecord | None:
        """Why this one goes to the dead letters."""
        return self._rejected.get(entry)

    def note(self, entry: Entry, error: ProduceError, told: str) -> bool:
        """A record failed; ``told``: in words. True when it goes to the dead letters from now on."""
        self.has_failed = True
        self.is_late = self.is_late or is_for_age(error)
        scope = scope_of(error)
        if scope is ErrorScope.TOPIC:
            self._place_failed = True
        elif scope is ErrorScope.RECORD and isinstance(entry, Announcement):
            self._leave_out(entry, told)
        elif scope is ErrorScope.RECORD and entry is self.alone:
            return self._reject(entry, error)
        elif scope is ErrorScope.RECORD:
            self._suspects.add(entry)
        return False  # of a fatal one the producer tells, and what it had goes again by another

    def note_place(self) -> None:
        """A topic takes nothing for the present: that of the positions, say."""
        self.has_failed = self._place_failed = True

    def _leave_out(self, entry: Announcement, told: str) -> None:
        # It would be refused for ever, and hold everything behind it.
        log.error(
            "Kafka refuses a lifecycle record: this is not announced", session=str(self._key), error=told,
            kind=entry.lifecycle_event.kind, detail=entry.lifecycle_event.detail, setting="topics.lifecycle",
        )  # fmt: skip
        entry.stage = Stage.ACKNOWLEDGED

    def _reject(self, entry: Entry, error: ProduceError) -> bool:
        known = self._rejected.get(entry)
        rejection = RefusedRecord.of(error) if known is None else known.again(error)
        if rejection is None:
            self._place_failed = True
            return False
        self._suspects.add(entry)
        self._rejected[entry] = rejection
        return known is None

    def clear(self, entries: Iterable[Entry]) -> None:
        """These are in Kafka."""
        self.is_late = self.was_purged = self._place_failed = False
        self._retry_delay = _RETRY_FIRST
        if self._suspects:
            for entry in entries:
                self._suspects.discard(entry)
                self._rejected.pop(entry, None)
        self.is_isolated = bool(self._suspects)

    def after_abort(self, *, was_stuck: bool) -> bool:
        """Nothing of the transaction is in Kafka, which was ``was_stuck`` when it did not take all.

        True when it is for this session to be tried alone.
        """
        is_stuck = self.was_purged and (was_stuck or self.is_isolated)  # on trial nobody else was in the transaction
        is_blamed = self.has_failed or is_stuck
        self._place_failed = self._place_failed or is_stuck
        self.forget()
        if is_blamed:
            self.is_isolated = True
            if self._place_failed:
                self.retry_at = monotonic() + self._retry_delay
                self._retry_delay = min(2 * self._retry_delay, _RETRY_LONGEST)
        return is_blamed

    def forget(self) -> None:
        """The transaction it was about is over."""
        self.has_failed = self.was_purged = False
        self.alone = None
