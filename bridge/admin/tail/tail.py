"""Reads records from where the user asked, then follows the topics, until something ends it."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.admin.kafka_access import KafkaAccess, read_all
from bridge.admin.tail.lines import TailFilter
from bridge.admin.tail.output import Output, Selected
from bridge.admin.text import counted
from bridge.clock import monotonic
from bridge.consumer import NotAnEvent, Rule, event_of
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.follower import TopicFollower
from bridge.kafka.reader import StoredRecord
from bridge.kafka.topic_reader import OffsetRange, offset_ranges, read
from bridge.settings import Settings

_POLL = 0.1
"""Longest wait for a record, in seconds: so often the output, the deadline and waiting pieces are looked at."""
_BATCH = 1000
_MOST_LAG = 20_000
"""Records behind which a text output skips: at a rate that it can follow, less than a second."""
_NOTE_INTERVAL = 1.0
_CHECK_INTERVAL = 10.0
"""Seconds without a record after which Kafka is asked whether it is still there."""
_AWAY = 30.0


def topics_of(settings: Settings, role: str) -> tuple[str, ...]:
    """Return the topics of a role, without doubles; those of the routes belong to the events."""
    topics = settings.topics
    events = (topics.events, *(route.topic for route in topics.routes))
    by_role = {"events": events, "dead-letters": (topics.dead_letters,), "lifecycle": (topics.lifecycle,)}
    chosen = by_role.values() if role == "all" else [by_role[role]]
    return tuple(dict.fromkeys(topic for group in chosen for topic in group))


@dataclass(frozen=True, slots=True, kw_only=True)
class TailRequest:
    """What to read, and when to end."""

    topics: Sequence[str]
    selection: TailFilter
    since_ms: int | None = None
    last: int | None = None
    """Begin with so many of the newest records that match."""
    follow: bool = True
    count: int | None = None
    seconds: float | None = None


class Tail:
    """One run, on one thread. Raises ``SettingsError``, and ``Unreachable`` also if Kafka goes away for 30 s."""

    def __init__(
        self,
        access: KafkaAccess,
        request: TailRequest,
        output: Output,
        note: Callable[[str], None],
        is_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        """``note`` prints one line that is no record; ``is_gone`` says that nobody reads the output any more."""
        self.shown = self.foreign = self.repeats = 0
        self._access, self._request, self._output = access, request, output
        self._note, self._is_gone = note, is_gone
        self._rule = Rule()
        self._is_foreign_named = False
        self._end = None if request.seconds is None else monotonic() + request.seconds
        self._hidden = 0
        self._noted_at = monotonic()

    def run(self) -> None:
        """Print until the end that the options name."""
        ranges = self._ranges()
        for batch in self._stored(ranges):
            self._write(batch)
            if self._is_over:
                break
        if self._request.follow and not self._is_over:
            self._follow({(each.topic, each.partition): each.end for each in ranges})
        self.finish()

    def finish(self) -> None:
        """Print what still waits, and what was not shown. Can be called twice."""
        self._output.finish()
        self._note_hidden()

    @property
    def _is_over(self) -> bool:
        counted = self._request.count is not None and self.shown >= self._request.count
        return counted or (self._end is not None and monotonic() >= self._end) or self._is_gone()

    # --- what is stored already

    def _ranges(self) -> list[OffsetRange]:
        """The offset ranges of the topics that exist."""
        found = offset_ranges(self._access.config, self._request.topics, self._request.since_ms)
        existing = {each.topic for each in found}
        if not existing:
            raise SettingsError.of(
                "topics",
                f"there is no topic {' or '.join(self._request.topics)}, or it is not visible; allowed: topics that the"
                " bridge writes to (check namespace too)",
            )
        for topic in self._request.topics:
            if topic not in existing:
                self._note(f"there is no topic {topic}, or it is not visible")
        return found

    def _stored(self, ranges: Sequence[OffsetRange]) -> Iterator[list[Selected]]:
        """The selected records that are stored already, as far as the user asked for them."""
        if self._request.last is not None:
            yield self._newest(ranges, self._request.last)
        elif self._request.since_ms is not None or not self._request.follow:
            config = self._access.config
            for batch in read(config, ranges) if self._output.is_terminal else read_all(config, ranges, "records"):
                yield self._select(batch)

    def _newest(self, ranges: Sequence[OffsetRange], count: int) -> list[Selected]:
        """The newest matching records of all partitions together; each partition's stay in order."""
        window = max(count, 100) if self._request.selection == TailFilter() else max(4 * count, 2000)
        while True:
            starts = [replace(each, start=max(each.start, each.end - window)) for each in ranges]
            newest: dict[tuple[str, int], deque[Selected]] = defaultdict(lambda: deque(maxlen=count))
            self.foreign, self._rule, self.repeats = 0, Rule(), 0
            for batch in read_all(self._access.config, starts, "records"):
                for each in self._select(batch):
                    newest[each.record.topic, each.record.partition].append(each)
            if sum(map(len, newest.values())) >= count or starts == list(ranges):
                merged = heapq.merge(*newest.values(), key=lambda each: each.record.timestamp_ms)
                return list(deque(merged, maxlen=count))
            window *= 8

    # --- what arrives

    def _follow(self, starts: Mapping[tuple[str, int], int]) -> None:
        follower = TopicFollower(self._access.config, starts)
        connection = ConnectionCheck(follower, self._note)
        removed = 0
        try:
            while not self._is_over:
                batch = follower.poll(_BATCH, _POLL)
                connection.look(has_answered=bool(batch))
                self._write(self._select(batch))
                if follower.removed > removed:
                    self._note(f"Kafka removed {counted(follower.removed - removed, 'record')} before they were read")
                    removed = follower.removed
                if self._output.may_skip and follower.lag() > _MOST_LAG:
                    self._hidden += follower.skip()
                if monotonic() - self._noted_at > _NOTE_INTERVAL:
                    self._note_hidden()
        finally:
            follower.close()

    def _note_hidden(self) -> None:
        if self._hidden:
            self._note(f"{self._hidden:,} events were not shown: they come too fast")
        self._hidden, self._noted_at = 0, monotonic()

    # --- records

    def _select(self, batch: Sequence[StoredRecord]) -> list[Selected]:
        prefix = self._access.settings.events.type_prefix
        found = []
        for record in batch:
            try:
                event = event_of(
                    (record.topic, record.partition, record.offset),
                    *(record.key, record.value, record.headers),
                    type_prefix=prefix,
                    timestamp_ms=record.timestamp_ms,
                )
            except NotAnEvent as error:
                self.foreign += 1
                # While following, the first one is named at once: a wrong topic must not look like a quiet one.
                if self._request.follow and not self._is_foreign_named:
                    self._is_foreign_named = True
                    place = f"{record.topic} partition {record.partition} offset {record.offset}"
                    self._note(f"{place} is skipped: {error} (others are counted at the end)")
                continue
            if not self._rule.accepts(event):
                self.repeats += 1
                continue
            if self._request.selection.matches(event):
                found.append(Selected(record, event))
        return found

    def _write(self, found: Sequence[Selected]) -> None:
        if self._request.count is not None:
            found = found[: self._request.count - self.shown]
        self.shown += len(found)
        self._hidden += self._output.write(found, monotonic())


class ConnectionCheck:
    """Asks Kafka whether it is still there when no records come: the client itself retries for ever, in silence."""

    def __init__(
        self, follower: TopicFollower, note: Callable[[str], None], now: Callable[[], float] = monotonic
    ) -> None:
        self._follower, self._note, self._now = follower, note, now
        self._answered_at = self._asked_at = now()

    def look(self, *, has_answered: bool) -> None:
        """Call it after each poll. Raises ``Unreachable`` when Kafka was away for too long."""
        now = self._now()
        if has_answered:
            self._answered_at = self._asked_at = now
        if now - self._asked_at <= _CHECK_INTERVAL:
            return
        try:
            self._follower.check()
        except Unreachable as error:
            if now - self._answered_at > _AWAY:
                raise
            self._note(f"{error}; waiting")
        else:
            self._answered_at = self._now()
            if unread := self._follower.lag():
                self._note(f"{counted(unread, 'record')} cannot be read yet: a transaction of their producer is open")
        self._asked_at = self._now()
