"""What ``mix-bridge verify`` found, as a table for people and as one document for programs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.cli.kafka_access import counted
from bridge.core.terminal_text import visible, visible_bytes
from bridge.core.verification import EpochVerdict, Finding, Missing, SessionVerdict, judge, worst
from bridge.daemon.audit import Audit, TopicRead
from bridge.settings import Settings

_FEW = 12
"""Complete sessions told one by one; more are only counted."""
_MOST = 200
"""Lines of the table without ``--all``: the worst come first."""
_MOST_DETAILS = 20
_MOST_SPANS = 5
_PLAIN_WIDTH = 160
"""Columns of a line where nobody knows how wide the reader's screen is."""
_COUNTS = {
    "records": "records",
    "lost": "lost",
    "hidden": "hidden",
    "repeats": "repeats",
    "dead_letters": "dead letters",
    "expired": "expired",
    "in_flight": "in flight",
    "superseded": "superseded",
}
"""Counts of an epoch that are summed, and how a table calls them."""
_BAD = {"lost", "hidden"}
_ALWAYS = {"records", "lost"}
_COLOURS = {Finding.COMPLETE: "green", Finding.EXPIRED: "green", Finding.UNKNOWN: "red", Finding.LOSS: "red"}
_IN_WORDS = {
    Finding.COMPLETE: "complete",
    Finding.EXPIRED: "complete but for what is expired",
    Finding.UNKNOWN: "not there",
    Finding.LOSS: "LOSS",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts of all sessions, and what they were made from."""

    sessions: tuple[SessionVerdict, ...]
    topics: tuple[TopicRead, ...]
    cannot_see: tuple[str, ...]

    @classmethod
    def of(cls, audit: Audit, settings: Settings) -> Report:
        """Judge what was read."""
        sessions = tuple(judge(audit.ledger))
        return cls(sessions, audit.topics, tuple(_blind_spots(sessions, audit.topics, settings)))

    @property
    def is_good(self) -> bool:
        """Whether nothing is lost without an explanation."""
        return all(session.finding.is_good for session in self.sessions)

    def document(self) -> dict[str, Any]:
        """As docs/verify.md describes it."""
        return {
            "verdict": "complete" if self.is_good else "loss",
            "totals": self._totals(),
            "sessions": [_session(session) for session in self.sessions],
            "topics": [asdict(topic) for topic in self.topics],
            "cannot_see": list(self.cannot_see),
        }

    def _totals(self) -> dict[str, int]:
        findings = Counter(session.finding for session in self.sessions)
        return {
            "sessions": len(self.sessions),
            **{f"sessions_{finding.value}": findings[finding] for finding in Finding},
            **{name: sum(session.total(name) for session in self.sessions) for name in _COUNTS},
            "out_of_order": sum(session.total("out_of_order") for session in self.sessions),
            "replayed": sum(session.replayed for session in self.sessions),
            "gaps": sum(sum(session.gaps.values()) for session in self.sessions),
            "gaps_missing": sum(session.gaps_missing for session in self.sessions),
            "foreign": sum(topic.foreign for topic in self.topics),
        }

    def print(self, *, every: bool) -> None:
        """On standard output."""
        width = None if sys.stdout.isatty() else _PLAIN_WIDTH
        console = Console(file=sys.stdout, width=width, highlight=False)
        for topic in self.topics:
            console.print(_topic_line(topic), soft_wrap=True)
        shown = self._shown(every=every)
        if shown:
            console.print(_table(shown))
        for line in _details(shown):
            console.print(line, soft_wrap=True)
        left = len(self.sessions) - len(shown)
        if left and shown:
            console.print(f"and {counted(left, 'session')} more, none of them worse (--all, --json)")
        console.print(self._summary())
        for sentence in self.cannot_see:
            console.print(f"cannot see: {sentence}", style="bright_black", markup=False)

    def _shown(self, *, every: bool) -> list[SessionVerdict]:
        if every:
            return list(self.sessions)
        talking = [session for session in self.sessions if _has_to_say(session)]
        chosen = self.sessions if len(self.sessions) <= _FEW else talking
        return worst(chosen, _MOST)

    def _summary(self) -> Text:
        totals = self._totals()
        parts = [counted(totals["sessions"], "session"), counted(totals["records"], "record")]
        parts += [f"{totals[name]:,} {word}" for name, word in _COUNTS.items() if name != "records" and totals[name]]
        parts += [f"{totals['replayed']:,} replayed"] if totals["replayed"] else []
        parts += [counted(totals["gaps"], "gap") + " of servers"] if totals["gaps"] else []
        parts += [counted(totals["foreign"], "foreign record")] if totals["foreign"] else []
        verdict = Text("complete: nothing is lost", "bold green") if self.is_good else self._bad_verdict()
        return verdict + Text(f" ({', '.join(parts)})")

    def _bad_verdict(self) -> Text:
        bad = [session for session in self.sessions if not session.finding.is_good]
        if all(session.finding is Finding.UNKNOWN for session in bad):
            return Text(f"{counted(len(bad), 'session')} asked for, and no topic knows of it", "bold red")
        return Text(f"LOSS in {counted(len(bad), 'session')}", "bold red")


def _has_to_say(session: SessionVerdict) -> bool:
    told = any(session.total(name) for name in _COUNTS if name != "records")
    return not session.finding.is_good or told or bool(session.gaps) or session.replayed > 0


def _topic_line(topic: TopicRead) -> Text:
    if not topic.partitions:
        return Text(f"{topic.name}: not there", "yellow")
    text = f"{topic.name}: {counted(topic.records, 'record')} in {counted(topic.partitions, 'partition')}"
    text += ", not from the beginning" if topic.is_cut else ""
    return Text(text) + Text(f", {topic.foreign:,} of them foreign" if topic.foreign else "", "yellow")


def _table(sessions: Iterable[SessionVerdict]) -> Table:
    rows = list(sessions)
    names = [name for name in _COUNTS if name in _ALWAYS or any(row.total(name) for row in rows)]
    has_gaps = any(row.gaps for row in rows)
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("session", overflow="fold", ratio=1, min_width=16)
    table.add_column("epochs", justify="right")
    for name in names:
        table.add_column(_COUNTS[name], justify="right", min_width=4)
    if has_gaps:
        table.add_column("gaps", justify="right")
    table.add_column("verdict")
    for row in rows:
        counts = [_number(row.total(name), bad=name in _BAD) for name in names]
        gaps = [_number(sum(row.gaps.values()))] if has_gaps else []
        word = Text("complete" if row.finding.is_good else _IN_WORDS[row.finding], _COLOURS[row.finding])
        table.add_row(Text(visible_bytes(row.key)), str(len(row.epochs)), *counts, *gaps, word)
    return table


def _number(count: int, *, bad: bool = False) -> Text:
    return Text(f"{count:,}" if count else "-", "red" if bad and count else "")


def _details(sessions: Iterable[SessionVerdict]) -> Iterator[Text]:
    """What exactly is missing or out of place, and what the server did."""
    lines = [line for session in sessions for line in _lines_of(session)]
    yield from lines[:_MOST_DETAILS]
    if len(lines) > _MOST_DETAILS:
        yield Text(f"... and {len(lines) - _MOST_DETAILS:,} lines like these (--json has all)")


def _lines_of(session: SessionVerdict) -> Iterator[Text]:
    key = visible_bytes(session.key)
    for epoch in session.epochs:
        place = f"{key} epoch {epoch.epoch}: "
        for words in _losses(epoch):
            yield Text(place) + Text(words, "red")
        if epoch.in_flight:
            yield Text(f"{place}{epoch.in_flight:,} missing above {epoch.required:,}: perhaps under way, look again")
    if session.gaps:
        kinds = ", ".join(f"{visible(kind)} {count}" for kind, count in session.gaps.items())
        unknown = f", in {session.gaps_unknown} of them unknown" if session.gaps_unknown else ""
        yield Text(
            f"{key}: by the server's doing: {kinds} (events missing: {session.gaps_missing:,}{unknown})", "yellow"
        )


def _losses(epoch: EpochVerdict) -> Iterator[str]:
    if epoch.lost:
        stated = f", {epoch.truncated:,} of them behind its last record, {epoch.last or 0:,}" if epoch.truncated else ""
        yield f"lost {_spans(epoch.lost)}{stated}"
    if epoch.hidden:
        yield f"out of order {_spans(epoch.hidden)}: consumers that follow the rule drop them"


def _spans(missing: Missing) -> str:
    told = [f"{first}" if first == last else f"{first}-{last}" for first, last in missing.spans[:_MOST_SPANS]]
    more = len(missing.spans) - len(told) + missing.spans_left_out
    return ", ".join(told) + (f" and {more:,} more places" if more else "") + f" ({missing.count:,} in all)"


def _session(session: SessionVerdict) -> dict[str, Any]:
    server, _, session_id = session.key.decode(errors="replace").partition("/")
    stated = session.checkpoint
    return {
        "server": server,
        "session": session_id,
        "verdict": session.finding.value,
        "epochs": [_epoch(epoch) for epoch in session.epochs],
        "gaps": {**session.gaps, "missing": session.gaps_missing, "unknown": session.gaps_unknown},
        "replayed": session.replayed,
        "checkpoint": None if stated is None else stated._asdict(),
    }


def _epoch(epoch: EpochVerdict) -> dict[str, Any]:
    return {
        "epoch": epoch.epoch,
        "verdict": epoch.finding.value,
        "complete": epoch.finding is Finding.COMPLETE,
        "first": epoch.first,
        "last": epoch.last,
        "stated": epoch.stated,
        "required": epoch.required,
        "records": epoch.records,
        "lost": epoch.lost.spans,
        "lost_count": epoch.lost.count,
        "lost_spans_left_out": epoch.lost.spans_left_out,
        "truncated": epoch.truncated,
        "hidden": epoch.hidden.spans,
        "hidden_count": epoch.hidden.count,
        "hidden_spans_left_out": epoch.hidden.spans_left_out,
        "repeats": epoch.repeats,
        "out_of_order": epoch.out_of_order,
        "dead_letters": epoch.dead_letters,
        "expired": epoch.expired,
        "in_flight": epoch.in_flight,
        "superseded": epoch.superseded,
    }


def _blind_spots(sessions: Iterable[SessionVerdict], topics: Iterable[TopicRead], settings: Settings) -> Iterator[str]:
    """What no number tells."""
    yield "events that a server dropped before the bridge had them, unless its ids tell: numbers begin in the bridge"
    unproven = sorted(name for name, server in settings.servers.items() if not server.overlap)
    if unproven:
        yield f"whether {', '.join(unproven)} resumed where it should: overlap is false there"
    unresumable = sum(1 for session in sessions if session.gaps["unresumable"])
    if unresumable:
        yield f"what {counted(unresumable, 'session')} missed while they could not be resumed (unresumable)"
    without = sum(1 for session in sessions if session.is_known and session.checkpoint is None)
    if without:
        yield f"a lost end of {counted(without, 'session')} without a position: nothing says how far they came"
    if any(topic.is_cut for topic in topics):
        yield "what retention or --since left out"
