"""What is known of one session's stream: its settings, its ids, its known events, and losses that were announced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bridge.core.identity import sendable
from bridge.core.records.lifecycle import Kind, LifecycleEvent
from bridge.core.stream.actions import Action, Announce, Publish, Reconnect, StartEpoch
from bridge.core.stream.event import Event
from bridge.core.stream.ids import RisingIds, StartId, number
from bridge.core.stream.overlap import DIGEST_BYTES, OverlapWindow, digest
from bridge.core.stream.replay import FEW, MANY, KnownEvents, ReplayMatcher

LONGEST_REPLAY_TIMEOUT: Final = 120.0
"""Seconds. The replay timeout is doubled after each timeout, up to this."""
NOTHING: Final = OverlapWindow.starting("")
LOSSES: Final = frozenset({"gap", "reset", "unresumable"})
"""The kinds of lifecycle records after which events may be missing."""

# Sentences of lifecycle records.
NO_IDS: Final = "the server gives no ids: events sent between two connections are lost"
UNKNOWN_START: Final = (
    "the server may not know the id to start after: events before this one may be missing."
    " Set start_after_id to the id with which this server replays all its events, or to the empty text"
)
RESUMED: Final = "the stream continues where it stopped"
NOT_PROVABLE: Final = "nothing proves which events came before: some may be missing"
EVENTS_WITHOUT_IDS: Final = (
    "this server sends events without ids, which a replay may leave out: some may be missing here"
)
SKIPPED_START: Final = (
    "this server gives the id to start after to an event: the session's first event may be missing."
    " Set start_after_id to an id below the first one, for example -1"
)


def after_start(start: str) -> str:
    """The events that a request with this start id can bring."""
    return f"the events after the id {start!r} that the server still has" if start else "events from now on"


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of a server that decide how its streams are resumed."""

    start_after_id: str
    overlap: bool = True
    accepts_no_ids: bool = False
    connection_events: frozenset[str] = frozenset()
    """Names of events about the connection: they are never published."""
    ids_not_required: frozenset[str] = frozenset()
    """Names of events that need no id, because they are not published."""
    readers_take_part: bool = False
    """Without ids it is a Mix server on which a reader takes part in runs: it is recognised by ``connected``."""
    start_id: StartId = field(default_factory=StartId)
    """Whether the server gives the start id to an event, which a replay after that id leaves out."""
    replay_timeout: float = 10.0
    """Seconds within which the first known event of a replay must come."""


class Loss(NamedTuple):
    """A position that could not be proved. It is announced if requesting everything does not prove it either."""

    reason: str
    detail: str


NO_REPLAY: Final = Loss("not_replayed", "the server did not send the last known events again: some may be missing")


@dataclass(slots=True)
class StreamFacts:
    """Shared by the parts of `Continuity`. For the session's thread alone."""

    policy: Policy
    has_ids: bool
    """An event with an id was seen before."""
    window: OverlapWindow = NOTHING
    """The overlap window when the present connection was requested."""
    requested_id: str = ""
    is_used: bool = False
    """Kafka may have records of the present epoch that this process does not know."""
    last_id: str = ""
    ids: RisingIds = field(default_factory=RisingIds)
    matcher: ReplayMatcher = field(default_factory=lambda: ReplayMatcher(NOTHING, KnownEvents(), ""))
    known: KnownEvents = field(default_factory=KnownEvents)
    lost_events: KnownEvents | None = None
    """Known events of the epoch before a loss, until the first event after it is published."""
    held: list[Sequence[Event]] = field(default_factory=list)
    """Events that wait for the next connection, which probably brings them again; one item for each connection."""
    loss: Loss | None = None
    is_loss_announced: bool = False
    """A loss was announced, and no event has been published since."""
    has_replay_failed: bool = False
    """A replay failed, and an epoch was started in which nothing is published yet."""
    is_repeating: bool = False
    """The present connection brought events again that were published before a loss."""
    has_published: bool = False
    """The present connection brought events that were published."""
    owns_numbers: bool = False
    """This process has started the epoch or proved its position in it."""
    replays_without_ids: bool | None = None
    """Whether replays bring events without ids; False once it was announced that they may not; None: unknown."""

    @property
    def resume_point(self) -> OverlapWindow:
        """After the last id, or after the one before it if HTTP cannot carry the last one."""
        return OverlapWindow.starting(self.window.cursor if sendable(self.window.cursor) else self.window.after)

    @property
    def start(self) -> OverlapWindow:
        """The window of a session without known events."""
        return OverlapWindow.starting(self.policy.start_after_id)

    @property
    def can_fetch(self) -> bool:
        """Whether another request can bring everything that the server has after the start id."""
        return self.policy.start_after_id not in ("", self.requested_id)

    def is_next_after_start(self, first: Event) -> bool:
        """The only known event has the requested id itself, so an exclusive replay begins with the next one."""
        window, last, found = self.window, number(self.window.cursor), number(first.id)
        is_single = len(window.digests) == DIGEST_BYTES and window.after == window.cursor and window.certain
        return is_single and not self.matcher.matched and last is not None and found == last + 1

    def lifecycle_event(
        self, kind: Kind, reason: str, detail: str, *, to: str | None = None, missing: int | None = None
    ) -> LifecycleEvent:
        """A lifecycle record from the last id on."""
        return LifecycleEvent(kind, reason, detail, self.last_id, self.last_id if to is None else to, missing)

    def announce(self, kind: Kind, reason: str, detail: str, *, to: str | None = None) -> list[Action]:
        """Announce something without a new epoch."""
        self.is_loss_announced |= kind in LOSSES
        return [Announce(self.lifecycle_event(kind, reason, detail, to=to))]

    def start_epoch(  # noqa: PLR0913 - a lifecycle record and the window
        self, kind: Kind, reason: str, detail: str, window: OverlapWindow | None, *,
        to: str | None = None, missing: int | None = None,
    ) -> list[Action]:  # fmt: skip
        """Start a new epoch and announce why. A stream with events without ids never becomes certain again."""
        event = self.lifecycle_event(kind, reason, detail, to=to, missing=missing)
        self.forget_known(is_lost=kind in LOSSES)
        return [StartEpoch(event, window, self.window.certain)]

    def announce_failed_replay(self) -> list[Action]:
        """Start an epoch for the events that come next. The known events stay known, in case a replay comes late."""
        reason, detail = self.loss or NO_REPLAY
        self.has_replay_failed = self.is_loss_announced = self.owns_numbers = True
        self.is_used = False
        return [StartEpoch(self.lifecycle_event("gap", reason, detail), self.window, self.window.certain)]

    def continue_in_new_epoch(self) -> None:
        """The next events are the first ones of the epoch that was started after a failed replay."""
        self.forget_known(is_lost=True)
        self.ids.last = None

    def forget_known(self, *, is_lost: bool) -> None:
        """A new epoch has started: its events are remembered from its beginning."""
        self.loss = None
        self.has_replay_failed = False
        if self.known:
            self.lost_events = self.known
        self.known = KnownEvents(MANY if is_lost else FEW)
        self.is_loss_announced |= is_lost
        self.owns_numbers = True
        self.is_used = False

    def publish(self, events: Sequence[Event]) -> list[Action]:
        """Publish events, and remember them."""
        if not events:
            return []
        self.is_loss_announced = self.has_replay_failed = False
        self.has_published = True
        if self.lost_events is not None:
            self.is_repeating |= any(self.lost_events.find(digest(event)) >= 0 for event in events[:1])
            self.lost_events = None
        self.known.add(events)
        return [Publish(events)]

    def leave(self, events: Sequence[Event], why: str) -> list[Action]:
        """Reconnect, and hold events until it is certain whether a replay brings them."""
        if events:
            self.held.append(events)
        return [Reconnect(why)]
