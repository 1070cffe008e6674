"""Compares what arrived with what was sent. Pure.

``ReceivedEvents`` follows the rule for consumers. The comparison uses the server's journal and the records, nothing of
the code that wrote them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b

from bridge.consumer import Event, Place, Rule
from bridge.consumer.rule import place_of

_DIGEST_BYTES = 16
"""128 bits, so that no two of a day's events share a digest by chance."""


def fingerprint(event_id: str, event: str, data: bytes) -> bytes:
    """Return a digest of an event: equal only if id, name and every byte of the data are."""
    head = f"{len(event_id)} {len(event)} {event_id}{event}".encode(errors="surrogatepass")
    return blake2b(head + data, digest_size=_DIGEST_BYTES).digest()


class ReceivedEvents:
    """The fingerprints of all accepted records, about 60 bytes each. One thread writes."""

    def __init__(self) -> None:
        self._rule = Rule()
        self._fingerprints: dict[Place, list[bytes]] = {}
        self._repeats: Counter[str] = Counter()
        self.accepted = 0
        """Records that were new."""
        self.not_understood = 0
        """Records that are not as described."""

    def add(self, event: Event) -> bool:
        """Add the events of each topic-partition in order of offset. Return whether the event was new."""
        if not self._rule.accepts(event):
            self._repeats[event.session] += 1
            return False
        digest = fingerprint(event.sse_id or "", event.type, event.data)
        self._fingerprints.setdefault(place_of(event), []).append(digest)
        self.accepted += 1
        return True

    def sessions(self) -> set[str]:
        """Return all sessions with an accepted record. Any thread."""
        return {_session_of(place) for place in list(self._fingerprints)}

    def compare(self, session: str, sent: Sequence[bytes]) -> Counts:
        streams = [stream for place, stream in self._fingerprints.items() if _session_of(place) == session]
        return compare(sent, streams, self._repeats[session])


def _session_of(place: Place) -> str:
    return place.key.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Counts:
    """The result for one session, or for all together."""

    sent: int = 0
    arrived: int = 0
    """Events of the journal that arrived, each counted once."""
    repeated: int = 0
    """Records beyond the first of an event."""
    altered: int = 0
    """Records that differ from every event of the journal."""
    out_of_order: int = 0
    """Events that arrived after a later one."""

    @property
    def lost(self) -> int:
        return self.sent - self.arrived

    @property
    def is_correct(self) -> bool:
        """Whether every event arrived unchanged and in order. The guarantee allows repeats."""
        return not (self.lost or self.altered or self.out_of_order)

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def compare(sent: Sequence[bytes], streams: Iterable[Sequence[bytes]], dropped: int = 0) -> Counts:
    """Compare the fingerprints of one session's journal with those accepted in each topic-partition, both in order."""
    place = {one: index for index, one in enumerate(sent)}
    seen: set[int] = set()
    repeated, altered, out_of_order = dropped, 0, 0
    for stream in streams:
        last = -1
        for one in stream:
            at = place.get(one)
            if at is None:
                altered += 1
            elif at in seen:
                repeated += 1  # a new epoch may repeat events
            else:
                seen.add(at)
                out_of_order += at < last
                last = max(last, at)
    return Counts(len(sent), len(seen), repeated, altered, out_of_order)


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a whole run, by session."""

    sessions: Mapping[str, Counts]
    unassigned: Counts = Counts()
    """Records of no known session."""

    @property
    def total(self) -> Counts:
        return sum(self.sessions.values(), self.unassigned)


def summarize(journal: Iterator[tuple[str, Sequence[bytes]]], received: ReceivedEvents) -> Summary:
    """Compare every session of the journal, and every session that only the records have."""
    sessions = {session: received.compare(session, sent) for session, sent in journal}
    for session in sorted(received.sessions() - set(sessions)):
        sessions[session] = received.compare(session, ())
    return Summary(sessions, Counts(altered=received.not_understood))
