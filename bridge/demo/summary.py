"""What arrived against what was sent: a consumer's memory that follows the rule, and the comparison. Pure.

The rule of the records' description: per key and topic-partition keep the highest (epoch, sequence) and drop what is
not above it. The comparison knows the server's journal and the records, nothing of the bridge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b

from bridge.demo.consumed_record import ConsumedRecord

_PRINT_BYTES = 16
"""Of an event's fingerprint: 128 bits, so that two of a day's events never share one by chance."""


def fingerprint(event_id: str, event: str, data: bytes) -> bytes:
    """Stands for one event of a session: equal only if id, name and every byte of the data are."""
    head = f"{len(event_id)} {len(event)} {event_id}{event}".encode(errors="surrogatepass")
    return blake2b(head + data, digest_size=_PRINT_BYTES).digest()


class Ledger:
    """What has arrived, as a consumer that follows the rule keeps it: 16 bytes an event. One thread writes."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._prints: dict[tuple[str, str, int], bytearray] = {}
        self._repeats: Counter[str] = Counter()
        self.accepted = 0
        """Records that were new."""
        self.not_understood = 0
        """Records that are not as described."""

    def take(self, topic: str, partition: int, arrival: ConsumedRecord) -> bool:
        """Give it the records of each topic-partition in order of offset; whether the record was a new one."""
        place = (arrival.session, topic, partition)
        number = (arrival.epoch, arrival.sequence)
        if number <= self._highest.get(place, (-1, -1)):
            self._repeats[arrival.session] += 1
            return False
        self._highest[place] = number
        self._prints.setdefault(place, bytearray()).extend(fingerprint(arrival.id, arrival.event, arrival.data))
        self.accepted += 1
        return True

    @property
    def repeated(self) -> int:
        """Records that were dropped."""
        return self._repeats.total()

    def repeats_of(self, session: str) -> int:
        """Records of this session that were dropped."""
        return self._repeats[session]

    def sessions(self) -> set[str]:
        """All sessions that anything arrived of (any thread)."""
        return {session for session, _, _ in list(self._prints)}

    def streams_of(self, session: str) -> list[list[bytes]]:
        """The fingerprints of the session's accepted records, for each topic-partition in their order."""
        return [_split(prints) for (owner, _, _), prints in self._prints.items() if owner == session]


def _split(prints: bytearray) -> list[bytes]:
    return [bytes(prints[at : at + _PRINT_BYTES]) for at in range(0, len(prints), _PRINT_BYTES)]


@dataclass(frozen=True, slots=True)
class Tally:
    """The outcome for one session, or for all together."""

    sent: int = 0
    arrived: int = 0
    """Events of the journal that arrived, each counted once."""
    repeated: int = 0
    """Records beyond the first of an event."""
    foreign: int = 0
    """Records that the server never sent so: altered or invented."""
    misplaced: int = 0
    """Events that arrived behind a later one."""

    @property
    def lost(self) -> int:
        """Events of the journal that never arrived."""
        return self.sent - self.arrived

    @property
    def is_good(self) -> bool:
        """Every event arrived, as it was sent and in order. Repeats are within the promise."""
        return not (self.lost or self.foreign or self.misplaced)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def compare(sent: Sequence[bytes], streams: Iterable[Sequence[bytes]], dropped: int = 0) -> Tally:
    """Compare one session: the journal's fingerprints in order, the accepted ones per topic-partition, the dropped."""
    place = {one: index for index, one in enumerate(sent)}
    seen: set[int] = set()
    repeated, foreign, misplaced = dropped, 0, 0
    for stream in streams:
        last = -1
        for one in stream:
            at = place.get(one)
            if at is None:
                foreign += 1
            elif at in seen:
                repeated += 1  # a new epoch may repeat events
            else:
                seen.add(at)
                misplaced += at < last
                last = max(last, at)
    return Tally(len(sent), len(seen), repeated, foreign, misplaced)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a whole run, by session."""

    sessions: Mapping[str, Tally]
    nobodys: Tally = Tally()
    """Records that no session can be told of."""

    @property
    def total(self) -> Tally:
        """All sessions together."""
        return sum(self.sessions.values(), self.nobodys)


def judge(journal: Iterator[tuple[str, Sequence[bytes]]], ledger: Ledger) -> Verdict:
    """Compare every session of the journal, and what arrived of sessions that the journal does not know."""
    sessions = {
        session: compare(sent, ledger.streams_of(session), ledger.repeats_of(session)) for session, sent in journal
    }
    for stranger in sorted(ledger.sessions() - set(sessions)):
        sessions[stranger] = compare((), ledger.streams_of(stranger), ledger.repeats_of(stranger))
    return Verdict(sessions, Tally(foreign=ledger.not_understood))
