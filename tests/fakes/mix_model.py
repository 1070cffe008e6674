"""A model of event stream servers with many traits, and of a bridge that can crash at any moment.

The server consists of its buffer, its ids and its traits. The bridge is the real ``Continuity`` between that server and
a model of the publisher: numbers, a window that is folded as events are acknowledged, barriers that are durable before
the records after them. The log survives all crashes, and contains what a consumer that follows the rule has seen.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.actions import (
    Action,
    Announce,
    NoIds,
    Publish,
    Reconnect,
    StartEpoch,
    TakesPart,
    UncertainIds,
)
from bridge.core.stream.continuity import Continuity
from bridge.core.stream.event import Event
from bridge.core.stream.facts import LONGEST_REPLAY_TIMEOUT, LOSSES, Policy
from bridge.core.stream.ids import BELOW
from bridge.core.stream.overlap import OverlapWindow, extended
from bridge.core.stream.start_check import ANSWER_TIMEOUT, first_mark
from bridge.core.stream.states import State

EARLIEST = "earliest"
"""The start id with which a server with opaque ids replays all its events."""
CONNECTION_EVENTS = frozenset({"connected", "heartbeat"})


@dataclass(frozen=True)
class Traits:
    """The kind of server."""

    ids: Literal["rising", "sparse", "repeating", "opaque", "between", "none", "per connection"] = "rising"
    """``between``: rising, with events that have none between them. ``per connection``: each one counts from 1."""
    counts_from: int = 1
    """The first id where ids rise."""
    is_inclusive: bool = False
    """A replay begins with the event of the requested id."""
    answers_id: bool = False
    """The response names the id that the replay follows; another one than requested if it did not know that."""
    replay_seconds: float = 0.0
    """Seconds until anything comes on a new connection."""
    is_finite: bool = False
    """Each stream ends after its replay."""
    resumes: Literal["truly", "never", "from its start"] = "truly"
    unknown: Literal["all", "nothing", "refused"] = "all"
    """The answer to an opaque id that it does not know; a refusal is a 400 or a 500."""
    knows_below: bool = True
    """Where ids rise: -1 is a number like others, and all events follow it."""
    replays_without_id: bool = True
    connected: Literal["none", "no id", "counter", "position"] = "none"
    heartbeat: Literal["none", "no id", "counter", "position"] = "none"
    longest_run: int = 4
    """Events that share one id, at most, where ids repeat."""
    are_alike: bool = False
    """Consecutive events have the same data: if they share an id as well, no digest distinguishes them."""


class Sent(NamedTuple):
    """An event on its way to the reader, and the events before it that were not sent to this reader."""

    event: Event
    dropped: tuple[int, ...] = ()


@dataclass
class Connection:
    """One stream and the events on their way."""

    waiting: deque[Sent] = field(default_factory=deque)
    dropped: tuple[int, ...] = ()
    last_event_id: str = ""
    answered_id: str | None = None
    replay_seconds: float = 0.0
    sent: int = 0
    """Events of this connection so far, where each one counts its own."""


class Refused(Exception):
    """The server refuses the last event id."""


class Server:
    """One session of a server. ``received_ms`` identifies an event: no digest covers it."""

    def __init__(self, traits: Traits, chance: random.Random, *, can_fetch: bool = True) -> None:
        """``can_fetch``: the start id makes this server send all that it has."""
        self.traits = traits
        self.can_fetch = can_fetch
        self.first_connected: int | None = None
        """The number of events when the first connection was made."""
        self.chance = chance
        self.buffer: list[Event] = []
        self.appended = 0
        self.out_of_reach: set[int] = set()
        """Events that the server could not always send: evicted, forgotten, dropped, or never replayed."""
        self.connection: Connection | None = None
        self.faults = 0
        self.counter = traits.counts_from - 1
        self._group = 0
        self.incarnation = 0
        """How often ids have started over."""
        self.was_reset = False
        self.nameless: set[int] = set()
        """Events without an id between others that have one: no later id shows that they are missing."""
        self.misnamed: set[int] = set()
        """Events that were not replayed because their new id is not above the requested one."""

    # What happens to it

    def append(self, *, dropped: bool = False) -> None:
        """Append one more event; ``dropped``: it is not sent to the reader."""
        self.appended += 1
        own_id = self._next_id()
        data = str(self.appended // 3 if self.traits.are_alike else self.appended)
        event = Event("agent", data, own_id, "", self.appended)
        self.buffer.append(event)
        if own_id is None and self.traits.ids == "between":
            self.nameless.add(self.appended)
        if own_id is None and not self.traits.replays_without_id:
            self.out_of_reach.add(event.received_ms)  # a crash behind the read of it is enough
        connection = self.connection
        if connection is None:
            self._not_sent(event)
        elif dropped:
            self.faults += 1
            self.out_of_reach.add(event.received_ms)
            connection.dropped += (event.received_ms,)
        else:
            connection.waiting.append(Sent(event, connection.dropped))
            connection.dropped = ()

    def _next_id(self) -> str | None:
        match self.traits.ids:
            case "none" | "per connection":
                return None
            case "between" if self.chance.random() < 0.3:
                return None
            case "repeating" if self.counter and self._group > 1:
                self._group -= 1
                return str(self.counter)
            case "sparse":
                self.counter += self.chance.randint(2, 5)
            case _:
                self.counter += 1
        self._group = self.chance.randint(1, self.traits.longest_run)
        return f"{self.incarnation}-{self.counter}" if self.traits.ids == "opaque" else str(self.counter)

    def _not_sent(self, event: Event) -> None:
        if self.traits.resumes == "never" or event.id is None or self.traits.ids == "per connection":
            self.out_of_reach.add(event.received_ms)

    def beat(self) -> None:
        """An idle moment: a heartbeat."""
        if self.connection is not None and self.traits.heartbeat != "none":
            self.connection.waiting.append(self._about(self.connection, "heartbeat", self.traits.heartbeat))

    def _about(self, connection: Connection, name: str, trait: str) -> Sent:
        own_id = None
        if trait == "counter":
            self.counter += 1
            own_id = str(self.counter)
        elif trait == "position" and self.counter:
            own_id = str(self.counter)
        sent = Sent(Event(name, "{}", own_id, "", 0), connection.dropped)
        connection.dropped = ()
        return sent

    def evict(self) -> None:
        """The oldest events go."""
        self.faults += 1
        count = self.chance.randint(0, len(self.buffer))
        self.out_of_reach |= {event.received_ms for event in self.buffer[:count]}
        del self.buffer[:count]

    def restart(self, *, keeps_ids: bool, keeps_history: bool) -> None:
        """All connections end; ids continue or start over; the history is kept or lost."""
        self.faults += 1
        self.cut()
        if not keeps_history:
            self.out_of_reach |= {event.received_ms for event in self.buffer}
            self.buffer.clear()
        if not keeps_ids:
            self.was_reset = True
            self.counter, self._group = self.traits.counts_from - 1, 0
            self.incarnation += 1
            self.buffer = [event._replace(id=self._next_id()) for event in self.buffer]
            nameless = {event.received_ms for event in self.buffer if event.id is None}
            self.nameless |= nameless
            self.out_of_reach |= set() if self.traits.replays_without_id else nameless
        for _ in range(self.chance.choice((0, 0, 1, 3, 12))):
            self.append()

    def cut(self) -> None:
        """The connection ends; the events on their way are lost."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        for sent in connection.waiting:
            if sent.event.received_ms:
                self._not_sent(sent.event)

    # What it answers

    def connect(self, last_event_id: str) -> Connection:
        """A new stream; at most one at a time."""
        self.cut()
        self.incarnation += self.traits.ids == "per connection"
        if self.traits.unknown == "refused" and not self.knows(last_event_id):
            raise Refused
        if self.first_connected is None:
            self.first_connected = self.appended
        connection = self.connection = Connection(
            last_event_id=last_event_id, replay_seconds=self.traits.replay_seconds
        )
        if self.traits.answers_id and last_event_id:
            connection.answered_id = last_event_id if self.knows(last_event_id) else "another"
        if self.traits.connected != "none":
            connection.waiting.append(self._about(connection, "connected", self.traits.connected))
        connection.waiting.extend(map(Sent, self._replay(last_event_id)))
        return connection

    def knows(self, last_event_id: str) -> bool:
        """Whether a replay can follow this id."""
        if last_event_id == "":
            return True
        if self.traits.ids == "opaque":
            return last_event_id == EARLIEST or any(event.id == last_event_id for event in self.buffer)
        return last_event_id.isdigit() or (last_event_id == BELOW and self.traits.knows_below)

    def _replay(self, last_event_id: str) -> list[Event]:
        traits = self.traits
        if traits.resumes == "never" or traits.ids == "per connection":
            self.out_of_reach |= {event.received_ms for event in self.buffer}
            return []
        events = self.buffer if traits.resumes == "from its start" else self._after(last_event_id)
        return [event for event in events if event.id is not None or traits.replays_without_id]

    def _after(self, last_event_id: str) -> list[Event]:
        if last_event_id == "":
            self.out_of_reach |= {event.received_ms for event in self.buffer}
            return []
        if last_event_id == EARLIEST:
            return self.buffer if self.traits.ids == "opaque" else self._unknown()
        if self.traits.ids == "opaque":
            places = [at for at, event in enumerate(self.buffer) if event.id == last_event_id]
            if places:
                return self.buffer[places[-1] + (not self.traits.is_inclusive) :]
            return self._unknown()
        if last_event_id == BELOW and not self.traits.knows_below:
            return self._unknown()
        found = len(self.buffer)
        limit = int(last_event_id) - self.traits.is_inclusive
        while found and not 0 <= int(self.buffer[found - 1].id or (self.buffer[found - 1].id is None and -1)) <= limit:
            found -= 1
        if last_event_id == "0":  # "attached" names this id, and says nothing about the event that has it
            old = [each for each in self.buffer if each.received_ms <= (self.first_connected or 0)]
            answers = self.traits.knows_below and self.traits.replay_seconds <= ANSWER_TIMEOUT
            can_ask = answers and self.traits.ids != "between"  # only if the id 1 comes first
            old = old if can_ask else self.buffer
            self.misnamed |= {each.received_ms for each in old if each.id == "0"}
        if self.traits.ids == "repeating" and last_event_id != "0":
            self.misnamed |= {event.received_ms for event in self.buffer[:found] if event.id == last_event_id}
        if self.was_reset:
            self.misnamed |= {event.received_ms for event in self.buffer[:found]}
        return self.buffer[found:]

    def _unknown(self) -> list[Event]:
        if self.traits.unknown == "all":
            return self.buffer
        if not self.can_fetch:
            self.out_of_reach |= {event.received_ms for event in self.buffer}
        return []


class Record(NamedTuple):
    """An event in the log."""

    epoch: int
    sequence: int
    uid: int
    own_id: str | None


class LifecycleRecord(NamedTuple):
    """A lifecycle record in the log."""

    lifecycle_event: LifecycleEvent
    epoch: int
    sequence: int
    new_epoch: int | None


class Checkpoint(NamedTuple):
    epoch: int
    sequence: int
    overlap_window: OverlapWindow


class Log:
    """Everything durable: records, lifecycle records, the newest checkpoint."""

    def __init__(self) -> None:
        self.written: list[Record | LifecycleRecord] = []
        self.checkpoint: Checkpoint | None = None
        self.meanings: dict[tuple[int, int], int] = {}
        self.collisions: list[tuple[Record, int]] = []
        self.incarnations: dict[tuple[int, int], int] = {}
        """How often ids had started over when each number was given."""
        self.unproved: set[int] = set()
        """Epochs that a new process continued after the server had given the ids of its last events to others."""

    def write(self, one: Record | LifecycleRecord) -> None:
        self.written.append(one)
        if isinstance(one, Record):
            meaning = self.meanings.setdefault((one.epoch, one.sequence), one.uid)
            if meaning != one.uid:
                self.collisions.append((one, meaning))

    @property
    def announced(self) -> list[LifecycleEvent]:
        return [each.lifecycle_event for each in self.written if isinstance(each, LifecycleRecord)]

    def accepted(self) -> list[tuple[int, Record]]:
        """The records that a consumer accepts that follows the rule, with their index in the log."""
        highest, kept = (-1, -1), []
        for at, each in enumerate(self.written):
            if isinstance(each, Record) and each[:2] > highest:
                highest = each[:2]
                kept.append((at, each))
        return kept


class Entry(NamedTuple):
    event: Event | None
    epoch: int
    sequence: int
    last_event_id: str
    lifecycle_event: LifecycleEvent | None = None
    new_epoch: int | None = None
    mark: OverlapWindow | None = None


class Publisher:
    """Numbers events and writes them to the log. A barrier is written after everything before it is acknowledged."""

    def __init__(self, log: Log, start: str) -> None:
        self.log = log
        known = log.checkpoint or Checkpoint(0, 0, OverlapWindow.starting(start))
        self.epoch, self.sequence, self.overlap_window = known
        self.cursor = known.overlap_window.cursor
        self._waiting: deque[Entry] = deque()
        self._written: deque[Entry] = deque()
        self._passed = known

    def submit(self, events: Sequence[Event], incarnation: int) -> None:
        entries = []
        for event in events:
            self.cursor = self.cursor if event.id is None else event.id
            self.sequence += 1
            self.log.incarnations[self.epoch, self.sequence] = incarnation
            entries.append(Entry(event, self.epoch, self.sequence, self.cursor))
        self.overlap_window = extended(self.overlap_window, entries)
        self._waiting += entries

    def announce(self, lifecycle_event: LifecycleEvent) -> None:
        self._waiting.append(Entry(None, self.epoch, self.sequence, self.cursor, lifecycle_event))

    def begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        if why is not None:
            self._waiting.append(Entry(None, self.epoch, self.sequence, self.cursor, why, self.epoch + 1))
        self.epoch, self.sequence, self.overlap_window, self.cursor = (
            self.epoch + 1,
            0,
            overlap_window,
            overlap_window.cursor,
        )
        self._waiting.append(Entry(None, self.epoch, 0, overlap_window.cursor, mark=overlap_window))

    def hold_unfinished(self, size: int) -> None:
        """Count nothing."""

    def mark(self, overlap_window: OverlapWindow) -> None:
        self.overlap_window = overlap_window
        self._waiting.append(Entry(None, self.epoch, self.sequence, self.cursor, mark=self.overlap_window))

    def turn(self, written: int, passed: int) -> None:
        """Write so many entries, then take so many acknowledgements."""
        for _ in range(min(written, len(self._waiting))):
            if self._waiting[0].event is None:
                self._pass(len(self._written))
            self._write(self._waiting.popleft())
        self._pass(passed)

    def _write(self, entry: Entry) -> None:
        if entry.mark is not None:
            self._passed = self.log.checkpoint = Checkpoint(entry.epoch, entry.sequence, entry.mark)
        elif entry.lifecycle_event is not None:
            self.log.write(LifecycleRecord(entry.lifecycle_event, entry.epoch, entry.sequence, entry.new_epoch))
        elif entry.event is not None:
            self.log.write(Record(entry.epoch, entry.sequence, entry.event.received_ms, entry.event.id))
            self._written.append(entry)

    def _pass(self, count: int) -> None:
        passed = [self._written.popleft() for _ in range(min(count, len(self._written)))]
        if passed:
            self._passed = Checkpoint(*passed[-1][1:3], extended(self._passed.overlap_window, passed))

    def write_checkpoint(self) -> None:
        """The acknowledged position becomes durable, unless the first one of an epoch is still on its way."""
        if self._passed.epoch:
            self.log.checkpoint = self._passed

    def settle(self) -> None:
        self.turn(len(self._waiting), 0)
        self._pass(len(self._written))
        self.write_checkpoint()


class _ReconnectNow(Exception):
    """Another connection is needed at once."""


class Bridge:
    """The worker of one process, like ``bridge.daemon.session_worker`` without threads."""

    def __init__(
        self, server: Server, log: Log, *, start: str = "0", overlap: bool = True, accepts: bool = True
    ) -> None:
        self.server, self.log = server, log
        self.start, self.overlap, self.accepts = start, overlap, accepts
        self.now = 0.0
        self.reconnects = self.refusals = 0
        self.is_opened = False
        self.stopped = False
        self.unannounced: set[int] = set()
        """Events that were missing before ids could show it."""
        self.start_process()

    def start_process(self) -> None:
        """Start a new process, which knows only the newest checkpoint."""
        known = self.log.checkpoint
        self.server.cut()
        if not self.log.announced:
            self.server.first_connected = None  # nothing was claimed yet
        self.publisher = Publisher(self.log, self.start)
        policy = Policy(self.start, self.overlap, self.accepts, CONNECTION_EVENTS)
        self.continuity = Continuity(
            policy,
            has_ids=known is not None and known.overlap_window.cursor not in ("", self.start),
            is_new=known is None,
        )
        self._has_begun = self._has_published = False
        if known is None:
            self._begin_epoch(OverlapWindow.starting(self.start))

    @property
    def connection(self) -> Connection | None:
        return self.server.connection

    def _begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        self._has_begun = True
        self.publisher.begin_epoch(overlap_window, why)

    def connect(self) -> None:
        is_used = not self._has_begun or self.publisher.sequence > 0
        if not self._has_published and self._ids_were_given_again():
            self.log.unproved.add(self.publisher.epoch)
        sent, actions = self.continuity.begin(self.publisher.overlap_window, is_used=is_used)
        self._perform(actions)
        try:
            connection = self.server.connect(sent)
        except Refused:
            if not self.continuity.check_refused(about_id=True):
                self._drop_refused_id(sent)
            return
        self.continuity.answered(connection.answered_id)
        self.is_opened = False

    def _ids_were_given_again(self) -> bool:
        """Whether ids of records behind the checkpoint belong to other events now.

        They have started over, or several events share an id and the server has lost some of them.
        """
        behind = [each for each in self.log.written if isinstance(each, Record) and each.epoch == self.publisher.epoch]
        given = {self.log.incarnations[each[:2]] for each in behind if each.sequence > self.publisher.sequence}
        ids = {event.id for event in self.server.buffer}
        are_shared = any(each.uid in self.server.out_of_reach and each.own_id in ids for each in behind)
        return are_shared or not given <= {self.server.incarnation}

    def _drop_refused_id(self, sent: str) -> None:
        """Continue without the refused id, as the session's stream does."""
        self.refusals += 1
        if sent in {"", self.start} and self.refusals < 3:
            return
        self.continuity.position_refused()
        lifecycle_event = LifecycleEvent("unresumable", "refused_id", "")
        self._begin_epoch(OverlapWindow.starting("" if sent == self.start else self.start), lifecycle_event)

    def read(self, most: int, *, stalled_for: float = 0.0) -> None:
        """Read the next events, or connect if there is no connection."""
        connection = self.connection
        if connection is None:
            self.connect()
            return
        if connection.replay_seconds and self._waits(connection.replay_seconds):
            return
        connection.replay_seconds = 0.0
        events: list[Event] = []
        while connection.waiting and len(events) < most:
            sent = connection.waiting[0]
            if sent.dropped and events:
                break
            events.append(self._received(connection, connection.waiting.popleft()))
        if events:
            try:
                if not self.is_opened:
                    self.is_opened = True
                    self._perform(self.continuity.opened())
                self._perform(self._taken(events, stalled_for))
            except _ReconnectNow:
                self.reconnects += 1
                self.close()
                self.connect()
        if self.server.traits.is_finite and not connection.waiting and self.connection is connection:
            self.close()

    def _waits(self, seconds: float) -> bool:
        """Whether the replay timeout is over before anything comes."""
        return seconds > self.continuity.replay_timeout and self.time_out()

    def time_out(self) -> bool:
        """Nothing comes within the replay timeout. False if no replay is awaited."""
        if not self.continuity.awaits_replay:
            return False
        self.close(timed_out=True)
        return True

    def close(self, *, timed_out: bool = False) -> None:
        """The connection ends, if there is one."""
        if self.connection is not None:
            self.server.cut()
            self._perform(self.continuity.closed(self.now, timed_out=timed_out))

    def _received(self, connection: Connection, sent: Sent) -> Event:
        proves_drops = (
            self.server.traits.ids == "rising"
            and "counter" not in {self.server.traits.connected, self.server.traits.heartbeat}
            and self.continuity._facts.ids.prove_jumps
            and self.continuity.state is State.FOLLOWING
        )
        if not proves_drops:
            self.unannounced.update(sent.dropped)
        event = sent.event
        if self.server.traits.ids == "per connection" and event.received_ms:
            connection.sent += 1
            event = event._replace(id=str(connection.sent))
        if event.id is not None:
            connection.last_event_id = event.id
        return event._replace(last_event_id=connection.last_event_id)

    def _taken(self, events: list[Event], stalled_for: float) -> list[Action]:
        if stalled_for:
            self.server.faults += 1
            return self.continuity.stalled(events, stalled_for, self.now)
        return self.continuity.take(events, self.now)

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Publish(events):
                    self._has_published = True
                    mark = first_mark(self.publisher.overlap_window, events[0])
                    if not self.publisher.sequence and mark:
                        self.publisher.mark(mark)
                    self.publisher.submit(events, self.server.incarnation)
                case Announce(lifecycle_event):
                    self.publisher.announce(lifecycle_event)
                case StartEpoch(lifecycle_event, overlap_window, certain):
                    overlap_window = (
                        self.publisher.overlap_window.unproven() if overlap_window is None else overlap_window
                    )
                    self._begin_epoch(overlap_window._replace(certain=certain), lifecycle_event)
                case Reconnect():
                    raise _ReconnectNow
                case UncertainIds():
                    self.publisher.mark(self.publisher.overlap_window._replace(certain=False))
                case TakesPart():
                    pass
                case NoIds():
                    self.stopped = True
                    self.server.cut()


@dataclass(frozen=True)
class Faults:
    """The number of steps out of a hundred for each fault."""

    cut: int = 4
    crash: int = 3
    evict: int = 0
    drop: int = 0
    stall: int = 0
    restart: int = 0
    kept_ids: bool = True
    fresh_ids: bool = False
    keeps_history: bool = True
    forgets_history: bool = False


class World:
    """One server, one bridge, one log, and the faults between them."""

    def __init__(  # noqa: PLR0913 - the two sides, their faults and their settings
        self,
        seed: int,
        traits: Traits,
        faults: Faults,
        *,
        start: str = "0",
        overlap: bool = True,
        is_fast: bool = False,
    ) -> None:
        """``is_fast``: all steps happen within one replay timeout."""
        self._waits = (0.0,) if is_fast else (0.1, 1.0, 40.0, 700.0)
        self.chance = random.Random(seed)
        self.traits, self.faults, self.start = traits, faults, start
        can_fetch = start == EARLIEST if traits.ids == "opaque" else start.isdigit()
        self.server = Server(traits, self.chance, can_fetch=can_fetch)
        self.log = Log()
        for _ in range(self.chance.choice((0, 0, 1, 5))):
            self.server.append()
        self.bridge = Bridge(self.server, self.log, start=start, overlap=overlap)
        self.trace: list[str] = []

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._step()
        self.settle()

    def _step(self) -> None:
        chance, faults, bridge = self.chance, self.faults, self.bridge
        roll = chance.random() * 100
        for name in ("cut", "crash", "evict", "drop", "stall", "restart"):
            roll -= getattr(faults, name)
            if roll < 0:
                self.trace.append(name)
                getattr(self, f"_{name}")()
                return
        bridge.now += chance.choice(self._waits)
        match chance.choice(("append", "append", "read", "read", "turn", "checkpoint", "beat")):
            case "append":
                self.server.append()
            case "read":
                bridge.read(chance.choice((1, 1, 2, 5, 100)))
            case "turn":
                bridge.publisher.turn(chance.choice((0, 1, 2, 5, 100)), chance.choice((0, 1, 2, 100)))
            case "checkpoint":
                bridge.publisher.write_checkpoint()
            case _:
                self.server.beat()

    def _cut(self) -> None:
        self.bridge.close()

    def _crash(self) -> None:
        self.bridge.start_process()

    def _evict(self) -> None:
        self.server.evict()

    def _drop(self) -> None:
        for _ in range(self.chance.choice((1, 1, 3))):
            self.server.append(dropped=True)
        self.server.append()

    def _stall(self) -> None:
        self.bridge.read(self.chance.choice((1, 2, 5)), stalled_for=6.0)

    def _restart(self) -> None:
        one = self.faults
        keeps_ids = self.chance.choice([each for each, may in ((True, one.kept_ids), (False, one.fresh_ids)) if may])
        keeps = [each for each, may in ((True, one.keeps_history), (False, one.forgets_history)) if may]
        self.bridge.close()
        self.server.restart(keeps_ids=keeps_ids, keeps_history=self.chance.choice(keeps))

    def settle(self) -> None:
        """Run without faults until nothing changes."""
        for more in (2, 2, 0):
            turns = 0
            while self.bridge.connection is None or self.bridge.connection.waiting or self.bridge.time_out():
                self.bridge.now += (
                    LONGEST_REPLAY_TIMEOUT * self.traits.is_finite
                )  # their ends must have some time between
                self.bridge.read(1000)
                turns += 1
                if turns == 60 and self.traits.is_finite:
                    break
                assert turns < 20 or self.traits.is_finite, "it never comes to rest"
            for _ in range(more):
                self.server.append()
        self.bridge.publisher.settle()

    # The judgement

    def collisions(self) -> list[tuple[Record, int]]:
        """Numbers of two events, except those that nothing could prevent."""
        if self.bridge.unannounced or self.is_misled:
            return []  # what it sends live is one stream, what it replays another, and no id shows it
        return [each for each in self.log.collisions if each[0].epoch not in self.log.unproved]

    @property
    def is_misled(self) -> bool:
        """Whether a new id may be exactly the next one after the old ones, so that it looks like the next event."""
        reasons = {each.reason for each in self.log.announced}
        may_be_others = self.server.was_reset or self.traits.ids == "repeating"
        return may_be_others and not reasons.isdisjoint({"known_forgotten", "not_healed", "next_id"})

    @property
    def trusts_first_id(self) -> bool:
        """Whether the first id after a reconnect looked like the first id ever."""
        announced = [each for each in self.log.announced if each.from_last_event_id in {self.start, BELOW}]
        is_first = any(each.reason in {"nothing_before", "next_id"} for each in announced)
        return is_first and (self.server.was_reset or self.traits.ids in {"per connection", "repeating"})

    @property
    def double_failures(self) -> set[int]:
        """Events with the number of another one: the bridge crashed while the server lost what it had published.

        The server gave their ids to other events, so the numbering seemed to continue. Not prevented with at least once
        (docs/guarantees.md); the tests count these runs apart.
        """
        return {record.uid for record, _ in self.log.collisions if record.epoch in self.log.unproved}

    @property
    def excused(self) -> set[int]:
        """Events whose loss no observation could show: docs/sources.md, "What no observation can show"."""
        if self.double_failures or self.is_misled:
            return set(range(self.server.appended + 1))
        return self.server.nameless | self.server.misnamed | self.bridge.unannounced

    def lost(self) -> set[int]:
        """Events that the server could always send, and that the consumer did not see."""
        return self.unseen() - self.server.out_of_reach - self.excused

    def unseen(self) -> set[int]:
        seen = {each.uid for _, each in self.log.accepted()}
        return set(range(1, self.server.appended + 1)) - seen

    def uncovered(self) -> set[int]:
        """Missing events between two that the consumer saw, without an announced loss between them."""
        first: dict[int, int] = {}
        for at, record in self.log.accepted():
            first.setdefault(record.uid, at)
        announced = [
            at
            for at, each in enumerate(self.log.written)
            if isinstance(each, LifecycleRecord) and each.lifecycle_event.kind in LOSSES
        ]
        found = set()
        for uid in self.unseen():
            after = [at for each, at in first.items() if each > uid]
            before = max((at for each, at in first.items() if each < uid and at < min(after, default=0)), default=-1)
            since_attached = uid > (self.server.first_connected or 0)
            since_attached = since_attached and not self.trusts_first_id
            if after and (before >= 0 or since_attached) and not any(before < at < min(after) for at in announced):
                found.add(uid)
        return found - self.excused
