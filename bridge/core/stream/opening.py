"""Decisions about the first events of a connection, which prove that the stream was resumed or that it was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bridge.core.records.lifecycle import Kind
from bridge.core.stream.actions import Action
from bridge.core.stream.event import Event
from bridge.core.stream.facts import (
    EVENTS_WITHOUT_IDS,
    NO_IDS,
    NO_REPLAY,
    NOT_PROVABLE,
    RESUMED,
    UNKNOWN_START,
    Loss,
    StreamFacts,
    after_start,
)
from bridge.core.stream.following import Following
from bridge.core.stream.ids import number
from bridge.core.stream.overlap import DIGEST_BYTES
from bridge.core.stream.replay import Match
from bridge.core.stream.start_check import StartCheck
from bridge.core.stream.states import Signal


class Verdict(NamedTuple):
    """The result of looking at some events of a connection."""

    signal: Signal | None
    """None: more events are needed."""
    rest: Sequence[Event] = ()
    """Events that were not decided about."""


class Opening:
    """Judges the first events of the connections of one session. For its thread alone."""

    def __init__(self, facts: StreamFacts, following: Following, start_check: StartCheck) -> None:
        self._facts = facts
        self._following = following
        self._start_check = start_check

    def judge_new(self, events: Sequence[Event], actions: list[Action]) -> Verdict:
        """The session's first event ever: ``attached`` is announced, and claims nothing about events before it."""
        if self._is_start_unknown(events[0]) or self._facts.is_used:
            return self.judge_start(events, actions, claims=False)
        check = self._start_check
        if check.is_after_start(events[0]) and check.begins_check(events, actions, unless_unknown=True, is_new=True):
            return Verdict(Signal.LOST)
        check.attached(events[0], actions)
        return Verdict(Signal.PROVED, events)

    def judge_check(self, events: Sequence[Event], actions: list[Action]) -> Verdict:
        """The answer to a request that resumes below the start id. The next connection brings the events again."""
        self._start_check.judge(events[0])
        actions += self._facts.leave(events, "the server's first id is known")
        return Verdict(Signal.LOST)

    def judge_start(self, events: Sequence[Event], actions: list[Action], *, claims: bool = True) -> Verdict:
        """The first event after a reconnect or a crash with nothing known."""
        facts, first, check = self._facts, events[0], self._start_check
        was_announced, is_first = facts.is_loss_announced and not facts.is_used, facts.last_id == facts.requested_id
        may_be_next = is_first and facts.window.certain and check.is_after_start(first)
        is_used_below = facts.is_used and facts.requested_id != facts.window.cursor  # its numbers began without event 0
        is_next = may_be_next and facts.window.believes_next and not is_used_below
        if may_be_next and check.begins_check(events, actions, unless_unknown=was_announced, is_new=not claims):
            return Verdict(Signal.LOST)
        published: list[Action] = []
        if self._following.release_held(events, published):
            if check.has_held_unproven:  # events may be missing before the held ones too
                self._announce_loss("gap", "not_provable", NOT_PROVABLE, first, actions)
            actions += published
            self._following.check_next(first, actions, believes_next=not check.has_held_unproven)
            return Verdict(Signal.LOST, events)
        if is_next and check.believes_first and not (check.leaves_doubt and claims and not facts.is_used):
            if claims and not check.began_new:
                reason = "next_id" if facts.is_used else "nothing_before"
                actions += facts.announce("resumed", reason, RESUMED)
            return Verdict(Signal.PROVED, events)
        if not was_announced:
            self._announce_unproved(first, actions, is_next=is_next)
        return Verdict(Signal.LOST, events)

    def _announce_unproved(self, first: Event, actions: list[Action], *, is_next: bool) -> None:
        """Nothing proves that no event is missing before this one; ``is_next``: its number is certain."""
        facts = self._facts
        if not first.id and not facts.has_ids:
            if facts.policy.accepts_no_ids:
                self._announce_loss("unresumable", "no_ids", NO_IDS, first, actions)
        elif self._is_start_unknown(first):
            self._announce_loss("gap", "start_id_unknown", UNKNOWN_START, first, actions)
        elif is_next:
            actions += facts.announce("gap", "not_provable", NOT_PROVABLE, to=first.id)
        else:
            self._announce_loss("gap", "not_provable", NOT_PROVABLE, first, actions)

    def _is_start_unknown(self, first: Event) -> bool:
        """An id that is no number shows that the server cannot have understood a numeric one."""
        return bool(first.id) and number(first.id) is None and number(self._facts.requested_id) is not None

    def _announce_loss(self, kind: Kind, reason: str, detail: str, first: Event, actions: list[Action]) -> None:
        facts = self._facts
        if facts.is_used:
            actions += facts.start_epoch(kind, reason, detail, None, to=first.id)
        else:
            actions += facts.announce(kind, reason, detail, to=first.id)

    def judge_believed(self, events: Sequence[Event], actions: list[Action]) -> Verdict:
        """Without overlap: events with the requested id that are known come from an inclusive replay."""
        facts = self._facts
        for index, event in enumerate(events):
            is_known = event.id == facts.requested_id != "" and facts.matcher.match(event) is not Match.UNKNOWN
            if event.name and not is_known:
                rest = events[index:]
                if self._following.release_held(rest, actions):
                    self._following.check_next(event, actions)
                return self._follow_believed(rest, actions)
        return Verdict(None)

    def _follow_believed(self, events: Sequence[Event], actions: list[Action]) -> Verdict:
        facts = self._facts
        if facts.window.cursor == facts.requested_id:
            facts.ids.begin(facts.window.cursor, facts.window.after)
        last, found = number(facts.last_id), number(events[0].id)
        if last is None or found is None or not facts.ids.are_countable or facts.ids.repeat or found - last in {0, 1}:
            return Verdict(Signal.PROVED, events)
        if found <= last:
            return Verdict(Signal.LOST, self._following.start_over(events, actions))
        if facts.ids.prove_jumps:
            return Verdict(Signal.PROVED, events)  # requested again first, as later on
        return Verdict(Signal.LOST, self._forgotten(events, found - last - 1, actions))

    def _forgotten(self, events: Sequence[Event], missing: int | None, actions: list[Action]) -> Sequence[Event]:
        detail = "the server no longer has the events that follow the last known one"
        actions += self._facts.start_epoch("gap", "forgotten", detail, None, to=events[0].id, missing=missing)
        self._facts.ids.last = None
        return events

    def judge_replay(self, events: Sequence[Event], actions: list[Action]) -> Verdict:
        """Known events must come first, in order."""
        verdict = self._judge_known(events, actions)
        if verdict.signal is not Signal.LOST:
            return verdict
        rest = verdict.rest
        if self._facts.is_next_after_start(rest[0]):
            actions += self._facts.announce("resumed", "next_id", RESUMED)
            return Verdict(Signal.PROVED, rest)
        if self._facts.has_replay_failed:
            self._facts.continue_in_new_epoch()
            return verdict
        return Verdict(Signal.LOST, self._not_resumed(rest, actions))

    def judge_fetch(self, events: Sequence[Event], actions: list[Action]) -> Verdict:
        """Everything was requested again, since a position could not be proved."""
        verdict = self._judge_known(events, actions)
        if verdict.signal is Signal.LOST and self._facts.has_replay_failed:
            self._facts.continue_in_new_epoch()
        elif verdict.signal is Signal.LOST:
            self.announce_pending_loss(verdict.rest, actions)
        return verdict

    def _judge_known(self, events: Sequence[Event], actions: list[Action]) -> Verdict:
        """Whether all known events have come (proved), more are awaited, or an unknown one came before them (lost)."""
        matcher = self._facts.matcher
        for index, event in enumerate(events):
            if not event.name:
                continue  # an id-only block proves nothing, and the next event moves the id as well
            match matcher.match(event):
                case Match.UNKNOWN:
                    return Verdict(Signal.LOST, [*matcher.skipped, *events[index:]])
                case Match.COMPLETE:
                    self._prove(actions)
                    return Verdict(Signal.PROVED, events[index + 1 :])
        return Verdict(None)

    def announce_pending_loss(self, events: Sequence[Event], actions: list[Action]) -> None:
        """Announce the loss that made everything be requested again; ``events`` are the answer, perhaps none."""
        facts = self._facts
        reason, detail = facts.loss or NO_REPLAY
        self._following.stop_backfilling()
        to = events[0].id if events else None
        if self._following.publish_held(events, actions, reason, detail):
            if not events:
                return
            what = after_start(facts.policy.start_after_id)
            reason, detail = "fetched_again", f"the stream continues with {what}, known ones too"
        actions += facts.start_epoch("gap", reason, detail, facts.start, to=to)
        facts.ids.last = None

    def _prove(self, actions: list[Action]) -> None:
        facts = self._facts
        facts.held, facts.loss, facts.has_replay_failed = [], None, False  # a true replay brings them again
        window = facts.window
        facts.ids.begin(window.cursor, window.after)
        if not window.is_complete:
            detail = "more events share the last id than are remembered: the others are published again"
            actions += facts.start_epoch("resumed", "too_many_under_one_id", detail, window)
        elif window.certain:
            actions += facts.announce("resumed", "replay_proved", RESUMED)
        else:
            self._prove_uncertain(actions)
        facts.owns_numbers = True

    def _prove_uncertain(self, actions: list[Action]) -> None:
        """Events without ids may be missing after the known ones, and the numbers of a former process may differ."""
        facts = self._facts
        if not facts.owns_numbers:
            actions += facts.start_epoch("gap", "events_without_ids", EVENTS_WITHOUT_IDS, facts.window)
            facts.replays_without_ids = False
            return
        if facts.matcher.has_matched_without_id:
            facts.replays_without_ids = True
        if facts.replays_without_ids:
            actions += facts.announce("resumed", "replay_proved", RESUMED)
        elif facts.replays_without_ids is None:
            actions += facts.announce("gap", "events_without_ids", EVENTS_WITHOUT_IDS + " and at later reconnects")
            facts.replays_without_ids = False

    def _not_resumed(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        facts, first, window = self._facts, events[0], self._facts.window
        facts.ids.begin(window.cursor, window.after)
        facts.ids.repeat = facts.ids.repeat or len(window.digests) > DIGEST_BYTES
        counts = facts.ids.are_countable and not facts.ids.repeat
        last, found = number(window.cursor), number(first.id)
        if facts.matcher.matched or last is None or found is None:
            return self._lose(events, actions)
        if facts.held:
            self._following.release_held(events, actions)
        last = number(facts.window.cursor)
        if last is None or found <= last:
            return self._following.start_over(events, actions)
        if counts and found == last + 1:
            detail = "the server has forgotten the last known event, and continues with the next: none is missing"
            actions += facts.start_epoch(
                "resumed", "known_forgotten", detail, facts.resume_point, to=first.id, missing=0
            )
            facts.ids.last = None
            return events
        return self._forgotten(events, found - last - 1 if counts else None, actions)

    def _lose(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """Opaque ids: request everything that the server has, unless it has just replayed some known events."""
        facts = self._facts
        detail = "the replay does not begin with the last known events: some may be missing"
        loss = Loss("replay_incomplete" if facts.matcher.matched else "not_recognised", detail)
        if facts.can_fetch and not facts.matcher.matched:
            facts.loss = loss
            actions += facts.leave(events, "the replay does not begin with known events")
            return []
        self._following.release_held(events, actions)
        actions += facts.start_epoch("gap", *loss, None, to=events[0].id)
        facts.ids.last = None
        return events

    def judge_next_id(self, events: Sequence[Event], actions: list[Action]) -> Verdict:
        """No earlier id is known: only the next id proves that nothing is missing, or the known events themselves."""
        facts, first = self._facts, events[0]
        if facts.window.digests and facts.window.cursor == facts.requested_id == first.id:
            verdict = self._judge_known(events, actions)
            if verdict.signal is not Signal.LOST:
                return verdict
            events = verdict.rest
        self._following.release_held(events, actions)
        return self._judge_next(events, events[0], actions)

    def _judge_next(self, events: Sequence[Event], first: Event, actions: list[Action]) -> Verdict:
        facts, point, window = self._facts, self._facts.resume_point, self._facts.window
        before, found = number(window.cursor if window.digests else window.after), number(first.id)
        shares = len(window.digests) > DIGEST_BYTES  # more events may share the last id
        is_next = before is not None and found == before + 1 and not shares
        if is_next and window.certain and window.believes_next:
            actions += facts.announce("resumed", "next_id", RESUMED)
            return Verdict(Signal.PROVED, events)
        sent = number(point.after)
        if sent is not None and found is not None and found <= sent and point != facts.start:
            return Verdict(Signal.LOST, self._following.start_over(events, actions))
        if first.id or facts.has_ids:
            actions += facts.start_epoch("gap", "not_provable", NOT_PROVABLE, None, to=first.id)
        elif facts.policy.accepts_no_ids:
            actions += facts.start_epoch("unresumable", "no_ids", NO_IDS, point)
        return Verdict(Signal.LOST, events)
