"""Whether a stream continues where it stopped: decisions about each event of a connection. Pure.

Each connection has something to prove: usually that the replay begins with known events (see `overlap`). If it does,
the known events are dropped and the numbering continues. If not, it is uncertain which events are missing and which
numbers they had, so the session continues in a new epoch, and a lifecycle record gives the reason. The table in
`states` lists all that a connection may have to prove.

Crash points: the publisher writes a new epoch to a checkpoint before anything is numbered in it. So a process that dies
resumes either the old numbering at a place that it can prove, or a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bridge.core.identity import sendable
from bridge.core.records.lifecycle import Kind
from bridge.core.stream.actions import Action
from bridge.core.stream.event import Event
from bridge.core.stream.facts import (
    LONGEST_REPLAY_TIMEOUT,
    NO_IDS,
    NO_REPLAY,
    UNKNOWN_START,
    Policy,
    StreamFacts,
    after_start,
)
from bridge.core.stream.following import Following, of_session, shows_refused
from bridge.core.stream.ids import BELOW
from bridge.core.stream.opening import Opening, Verdict
from bridge.core.stream.overlap import OverlapWindow
from bridge.core.stream.replay import EmptyReplays, ReplayMatcher
from bridge.core.stream.start_check import ANSWER_TIMEOUT, StartCheck
from bridge.core.stream.states import AWAITING, TRANSITIONS, Signal, State
from bridge.core.transitions import follow

STALL_EVERY: Final = 30.0
"""Seconds between two reconnects of a reader that stalled."""
DENIED_TIMEOUT: Final = 1.0
"""Seconds for a replay if the response names another last event id than the request: the server did not know it."""


class Continuity:
    """The decisions for one session. For its thread alone; the caller carries out the actions that it returns."""

    def __init__(self, policy: Policy, *, has_ids: bool, is_new: bool) -> None:
        """``has_ids``: an event with an id was seen before. ``is_new``: the session was never attached."""
        self._policy = policy
        self._facts = StreamFacts(policy, has_ids)
        self._following = Following(self._facts)
        self._start_check = StartCheck(self._facts)
        self._opening = Opening(self._facts, self._following, self._start_check)
        self.state = State.CLOSED
        self._is_attached = self._was_answered = not is_new
        self._is_denied = False
        self._timeout = policy.replay_timeout
        self._empty_replays = EmptyReplays(policy.replay_timeout)
        self._stalled_at = float("-inf")

    @property
    def backfilled(self) -> int:
        """Jumps of ids that a reconnect filled."""
        return self._following.backfilled

    @property
    def awaits_replay(self) -> bool:
        """Whether known events must come before anything else: a server that replays sends them at once."""
        return self.state in AWAITING and not self._facts.has_replay_failed

    @property
    def replay_timeout(self) -> float:
        """Seconds within which the first known event must come."""
        longest = ANSWER_TIMEOUT if self.state is State.CHECK else DENIED_TIMEOUT
        return min(self._timeout, longest) if self._is_denied or self.state is State.CHECK else self._timeout

    @property
    def is_repeating(self) -> bool:
        """Whether the present connection brings events again that are published already."""
        return self._facts.is_repeating

    @property
    def has_only_known(self) -> bool:
        """Whether the present connection brought known events and no others."""
        return self._facts.matcher.has_come and not self._facts.has_published

    @property
    def has_ids(self) -> bool:
        """Whether the server has sent an event with an id."""
        return self._facts.has_ids

    def begin(self, window: OverlapWindow, *, is_used: bool, cursor: str | None = None) -> tuple[str, list[Action]]:
        """The id to send for the next connection, and the actions before it.

        ``is_used``: Kafka may have records of the present epoch that this process does not know. ``cursor``: the
        stream's last event id, which an id-only block may have moved; used without overlap only.
        """
        facts = self._facts
        self._signal(Signal.LEFT)
        self._is_denied = facts.is_repeating = facts.has_published = False
        facts.window, facts.last_id, facts.is_used = window, window.cursor, is_used
        facts.owns_numbers |= not is_used
        actions = self._prepare(window, cursor) if self.state is State.CLOSED else []
        facts.requested_id = self._requested_id()
        if self.state is State.FETCH:
            facts.requested_id = self._policy.start_after_id
        elif self.state in {State.NEW, State.START} and window.cursor == self._policy.start_after_id:
            facts.last_id = facts.requested_id = self._start_check.requested_id
        believed_id = "" if facts.has_replay_failed else facts.requested_id
        facts.matcher = ReplayMatcher(window, facts.known, believed_id)
        facts.ids.begin(facts.requested_id)
        if facts.requested_id == self._policy.start_after_id and not window.digests and facts.ids.prove_jumps:
            facts.ids.last = None  # the reset has announced what the start has lost
        return facts.requested_id, actions

    def _prepare(self, window: OverlapWindow, cursor: str | None) -> list[Action]:
        """Choose the state of the next connection; a loss that is certain already is announced."""
        facts = self._facts
        if facts.loss is not None:
            self.state = State.FETCH
        elif self._start_check.is_wanted and not window.digests:
            self.state = State.CHECK
            self._start_check.ask()
        elif not window.digests:
            is_start = window.is_start(self._policy.start_after_id)
            self.state = State.START if self._was_answered else State.NEW
            if facts.is_used and not is_start and facts.has_ids:
                self.state = State.NEXT_ID
        elif not facts.has_ids:
            self.state = State.ANNOUNCED
            return self._restart("unresumable", "no_ids", NO_IDS, facts.resume_point)
        elif window.after and (self._policy.overlap or not sendable(window.cursor)):
            self.state = State.REPLAY
        elif not sendable(window.cursor):
            self.state = State.ANNOUNCED
            detail = "HTTP cannot carry the last event id, and no earlier one is known: some events may be missing"
            return self._restart("gap", "unsendable_id", detail, facts.start)
        else:
            self.state = State.NEXT_ID if self._policy.overlap else State.BELIEVED
            if self.state is State.BELIEVED and cursor is not None and sendable(cursor):
                facts.window = window._replace(cursor=cursor)
        return []

    def _restart(self, kind: Kind, reason: str, detail: str, window: OverlapWindow) -> list[Action]:
        facts = self._facts
        actions = facts.start_epoch(kind, reason, detail, window)
        facts.window = window._replace(certain=facts.window.certain)
        return actions

    def _requested_id(self) -> str:
        facts, window = self._facts, self._facts.window
        if self.state is State.CHECK:
            return BELOW
        if self.state is State.REPLAY or (window.after and not window.digests):
            return window.after
        return facts.resume_point.after

    def answered(self, last_event_id: str | None) -> None:
        """The response's ``Last-Event-ID`` header; another id than the requested one: the server did not know that."""
        self._was_answered = True
        self._is_denied = last_event_id is not None and self._facts.requested_id not in {"", last_event_id}

    def opened(self) -> list[Action]:
        """The server has answered with a stream of this session."""
        facts = self._facts
        actions: list[Action] = []
        if not self._is_attached:
            self._is_attached = True
            what = after_start(self._policy.start_after_id)
            actions += facts.announce("attached", "new_session", f"the session is bridged: {what}")
        if self.state is State.BELIEVED:
            actions += facts.announce("resumed", "believed", "the server is believed: overlap is off")
        if self._is_denied and self.state in {State.NEW, State.START} and not facts.is_loss_announced:
            actions += facts.announce("gap", "start_id_unknown", UNKNOWN_START)
        self._signal(Signal.OPENED)
        return actions

    def refuses(self, events: Sequence[Event]) -> bool:
        """Whether the first events of a connection show that the server gives no ids, and the settings refuse that."""
        return shows_refused(self._facts, events)

    def take(self, events: Sequence[Event], now: float) -> list[Action]:
        """The actions for the next events of the connection; ``now``: seconds, monotonic."""
        actions: list[Action] = []
        if self.state is State.FOLLOWING:
            self._start_check.report_late(actions)
        events = of_session(self._facts, events, actions)
        if self.state is not State.FOLLOWING:
            events = self._judge(events, actions)
        while events and self.state is State.FOLLOWING:
            events = self._following.follow(events, now, actions)
        return actions

    def stalled(self, events: Sequence[Event], seconds: float, now: float) -> list[Action]:
        """The reader stalled for so many seconds: a server that drops events for slow readers may have dropped some.

        ``events`` came meanwhile. A replay is more reliable than they are; without ids there is none.
        """
        facts = self._facts
        is_decided = self.state in {State.NEW, State.START, State.FOLLOWING}
        if not is_decided or facts.held or (facts.has_ids and self.state is not State.FOLLOWING):
            return self.take(events, now)
        if not facts.has_ids:
            detail = f"the reader stalled for {seconds:.0f} s: the server may have dropped events meanwhile"
            return [*facts.announce("gap", "stood_still", detail), *self.take(events, now)]
        if now - self._stalled_at < STALL_EVERY:
            return self.take(events, now)
        self._stalled_at = now
        return facts.leave(of_session(facts, events, []), f"the reader stalled for {seconds:.0f} s")

    def closed(self, now: float, *, timed_out: bool) -> list[Action]:
        """The connection was closed; ``timed_out``: because no known event came within the replay timeout.

        A server that closes several streams without a known event does not replay either.
        """
        if self.state is State.CHECK:
            self._start_check.ended(may_repeat=not timed_out)
            return []
        is_empty = self.awaits_replay and not self._facts.matcher.matched
        has_failed = self._empty_replays.ended(now, is_empty=is_empty)
        if not self.awaits_replay or not (timed_out or has_failed):
            return []
        self._empty_replays.forget()
        if timed_out:
            self._timeout = min(2 * self._timeout, LONGEST_REPLAY_TIMEOUT)
        return self._replay_failed()

    def _replay_failed(self) -> list[Action]:
        """No known event came.

        Everything after the start id is requested next: events after a restart of the server may have ids that it
        takes for known. If that brings nothing either, the loss is announced once, and the next connection waits.
        """
        facts, has_fetched = self._facts, self.state is State.FETCH
        self._signal(Signal.TIMED_OUT)
        if facts.matcher.skipped and not facts.matcher.matched:
            facts.held.append(facts.matcher.skipped)
        facts.loss = facts.loss or NO_REPLAY
        if facts.can_fetch and not has_fetched:
            return []
        actions: list[Action] = []
        if facts.held:
            self._opening.announce_pending_loss([], actions)
        else:
            actions = facts.announce_failed_replay()
        if not has_fetched:
            facts.loss = None
        return actions

    def check_refused(self, *, about_id: bool) -> bool:
        """The request failed: whether it was a question of the bridge's own, so that no position is affected.

        ``about_id``: the failure may be an answer to the id of the request.
        """
        if self.state is not State.CHECK:
            return False
        self._start_check.ended(may_repeat=not about_id)
        return True

    def position_refused(self) -> None:
        """The server refuses the last event id, and a new epoch was started: it may not give ids any more."""
        self._facts.has_ids = False
        self._facts.forget_known(is_lost=True)

    def _signal(self, signal: Signal) -> None:
        self.state = follow(TRANSITIONS, self.state, signal)

    def _judge(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """Look at the first events; returns those that are left once the position is decided."""
        at = next((index for index, event in enumerate(events) if event.name), None)
        if at is None:
            return []
        judge: dict[State, Callable[[Sequence[Event], list[Action]], Verdict]] = {
            State.NEW: self._opening.judge_new,
            State.START: self._opening.judge_start,
            State.CHECK: self._opening.judge_check,
            State.REPLAY: self._opening.judge_replay,
            State.NEXT_ID: self._opening.judge_next_id,
            State.FETCH: self._opening.judge_fetch,
            State.BELIEVED: self._opening.judge_believed,
        }
        verdict = judge[self.state](events[at:], actions)
        if verdict.signal is not None:
            self._signal(verdict.signal)
        return verdict.rest
