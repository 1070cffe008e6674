"""What ``mix-bridge verify`` found, as a table for people and as one document for programs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.admin.verify.audit import Audit, TopicRead
from bridge.admin.verify.findings import EpochVerdict, Finding, Missing, SessionVerdict, judge, worst
from bridge.cli.kafka_access import counted
from bridge.core.terminal_text import visible, visible_bytes
from bridge.settings import Settings

_FEW = 12
"""Complete sessions told one by one; more are only counted."""
_MOST = 200
"""Lines of the table without ``--all``: the worst come first."""
_MOST_DETAILS = 20
_MOST_SPANS = 5
_KEY_WIDTH = 44
"""Columns of a session whose id is a UUID, with its server's name."""
_PLAIN_WIDTH = 160
"""Columns of a line where nobody knows how wide the reader's screen is."""
_COUNTS: Mapping[str, Callable[[int], str]] = {
    "hidden": "{:,} hidden".format,
    "repeats": lambda count: counted(count, "repeat"),
    "dead_letters": lambda count: counted(count, "dead letter"),
    "expired": "{:,} expired".format,
    "in_flight": "{:,} in flight".format,
    "superseded": "{:,} superseded".format,
}
"""Counts of an epoch beside records and lost, and how people are told."""
_SUMMED = ("records", "lost", *_COUNTS, "out_of_order")
_COLOURS = {Finding.COMPLETE: "green", Finding.EXPIRED: "green", Finding.UNKNOWN: "red", Finding.LOSS: "red"}
_IN_WORDS = {Finding.LOSS: "LOSS", Finding.UNKNOWN: "UNKNOWN"}


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
            **{name: sum(session.total(name) for session in self.sessions) for name in _SUMMED},
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
            console.print(f"and {counted(left, 'session')} more, none of them worse (--all)")
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
        parts += [f"{totals['lost']:,} lost"] if totals["lost"] else []
        parts += [told(totals[name]) for name, told in _COUNTS.items() if totals[name]]
        parts += [f"{totals['replayed']:,} replayed"] if totals["replayed"] else []
        parts += [counted(totals["gaps"], "gap") + " of servers"] if totals["gaps"] else []
        parts += [counted(totals["foreign"], "foreign record")] if totals["foreign"] else []
        verdict = Text("complete: nothing is lost", "bold green") if self.is_good else self._bad_verdict()
        return Text.assemble(verdict, f" ({', '.join(parts)})")

    def _bad_verdict(self) -> Text:
        bad = [session for session in self.sessions if not session.finding.is_good]
        if all(session.finding is Finding.UNKNOWN for session in bad):
            return Text(f"{counted(len(bad), 'session')} asked for, and no topic knows of it", "bold red")
        return Text(f"LOSS in {counted(len(bad), 'session')}", "bold red")


def _has_to_say(session: SessionVerdict) -> bool:
    """What is expired is no news: with retention or ``--since`` nearly every session has something."""
    return not session.finding.is_good or bool(_besides(session, but={"expired"}))


def _topic_line(topic: TopicRead) -> Text:
    if not topic.partitions:
        return Text(f"{topic.name}: not there", "yellow")
    text = f"{topic.name}: {counted(topic.records, 'record')} in {counted(topic.partitions, 'partition')}"
    text += ", not from the beginning" if topic.is_cut else ""
    return Text(text) + Text(f", {topic.foreign:,} of them foreign" if topic.foreign else "", "yellow")


def _table(sessions: Sequence[SessionVerdict]) -> Table:
    longest = max(len(visible_bytes(one.key)) for one in sessions)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("verdict", no_wrap=True)
    table.add_column("session", overflow="fold", min_width=min(longest, _KEY_WIDTH))
    table.add_column("records", justify="right", no_wrap=True)
    table.add_column("lost", justify="right", no_wrap=True)
    table.add_column("besides", min_width=10)
    for one in sessions:
        lost = one.total("lost")
        table.add_row(
            Text(_IN_WORDS.get(one.finding, one.finding.value), _COLOURS[one.finding]),
            Text(visible_bytes(one.key)),
            f"{one.total('records'):,}",
            Text(f"{lost:,}" if lost else "-", "red" if lost else ""),
            Text(", ".join(_besides(one))),
        )
    return table


def _besides(session: SessionVerdict, but: Collection[str] = ()) -> list[str]:
    counts = [(session.total(name), told) for name, told in _COUNTS.items() if name not in but]
    gaps = sum(session.gaps.values())
    return [
        *(told(count) for count, told in counts if count),
        *([f"{session.replayed:,} replayed"] if session.replayed else []),
        *([counted(gaps, "gap")] if gaps else []),
        *([f"{len(session.epochs)} epochs"] if len(session.epochs) > 1 else []),
    ]


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
            yield Text(
                f"{place}{epoch.in_flight:,} missing above {epoch.required:,}, its last position: perhaps under way"
            )
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
