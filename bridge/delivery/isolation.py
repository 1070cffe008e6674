"""Finding the record that Kafka refuses, for both guarantees. Pure.

Kafka refuses a whole request when one record in it is at fault, and its error does not always name that record. So a
session with a refused batch sends one piece of its oldest batch at a time, in one request of its own: a refused piece
is halved until the refused record is alone, an accepted one is passed for good. Only a record that is refused alone in
its request goes to the dead letters.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST = 512
"""Records of a piece: those of a batch."""
_CLEAN = 1000
"""Records that must pass after a refusal before the session goes back to the shared producer, which each refusal ends:
a stream in which every tenth record is refused would end it again and again."""
TIME_LIMIT = 1.0
"""Seconds in which Kafka must accept a piece in a transaction: longer would delay the shard's other sessions."""
_LONGEST = 20.0
"""Seconds at most, after pieces that were not accepted in time: a new producer must first connect to the partition's
leader and log in, which takes seconds on a slow connection."""


@dataclass(slots=True)
class Isolation:
    """Which piece of the oldest batch goes next. It outlives producers and transactions.

    Thread rule: the delivery thread of the session's shard.
    """

    is_active: bool = False
    """The session sends pieces, and nothing by the fast path."""
    suspect: int = 0
    """So many records from the oldest on hold a refused one; 0: none is known."""
    clean: int = 0
    """Records accepted since the last verdict, or since the isolation began."""
    time_limit: float = TIME_LIMIT
    """Seconds in which Kafka must accept the next piece."""
    _most: int = MOST
    _is_probe: bool = False

    def piece(self, available: int) -> int:
        """How many of so many records go next: half of those that hold a refused one."""
        if self._is_probe:
            return 1
        return max(1, min(available, self.suspect // 2 if self.suspect else self._most))

    def begin(self, suspect: int = 0) -> None:
        """Kafka refused a request with a batch of this session. Another record in the request may be the reason."""
        if not self.is_active or self._is_probe:
            self.is_active, self._is_probe, self.clean, self._most = True, False, 0, MOST
        self.suspect = self.suspect or suspect

    def probe(self) -> None:
        """A topic accepts nothing: try one record before all others, where a failure ends no shared producer."""
        if not self.is_active:
            self.is_active = self._is_probe = True

    def refused(self, records: int) -> bool:
        """A piece was refused alone in its request. True: it is one record, which goes to the dead letters."""
        self.begin()
        self.time_limit = TIME_LIMIT
        if records > 1:
            self.suspect = records
            return False
        # As far as from the last refused record is a good guess for the next one; without a last one, all the rest.
        self._most = min(MOST, max(2, 2 * self.clean)) if self._has_verdict else MOST
        self._has_verdict = True
        self.suspect = self.clean = 0
        return True

    def note_time(self, *, is_too_short: bool) -> None:
        """If Kafka did not accept a piece in time, the next one may take twice as long."""
        if is_too_short and self.is_active:
            self.time_limit = min(2 * self.time_limit, _LONGEST)

    def accepted(self, records: int) -> None:
        """A piece is in Kafka."""
        self.time_limit = TIME_LIMIT
        self.clean += records
        self.suspect = max(0, self.suspect - records)
        if not self.suspect:
            self._most = min(MOST, 2 * self._most)
        if self._is_probe or (self.clean >= _CLEAN and not self.suspect):
            self.end()

    def end(self) -> None:
        """The session goes back to the shared producer, or the shard's transactions."""
        self.is_active = self._is_probe = self._has_verdict = False
        self.suspect = self.clean = 0
        self._most = MOST

    _has_verdict: bool = False
