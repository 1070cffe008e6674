"""The result of ``mix-bridge verify``: its JSON document, and its output for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bridge.admin.text import counted, table
from bridge.admin.verify.audit import Audit, TopicRead
from bridge.admin.verify.findings import EpochVerdict, Finding, Missing, SessionVerdict, judge, worst
from bridge.core.terminal_text import visible, visible_bytes
from bridge.settings import Settings

_FEW = 12
"""Up to so many sessions, complete ones have a row too; with more sessions they are only counted."""
_MAX_ROWS = 200
"""Rows without ``--all``: the worst sessions come first."""
_MAX_DETAILS = 20
_MAX_SPANS = 5
_COUNTS: Mapping[str, Callable[[int], str]] = {
    "hidden": "{:,} hidden".format,
    "repeats": lambda count: counted(count, "repeat"),
    "dead_letters": lambda count: counted(count, "dead letter"),
    "expired": "{:,} expired".format,
    "in_flight": "{:,} in flight".format,
    "superseded": "{:,} superseded".format,
}
"""Counts of an epoch besides records and lost, with their words."""
_COMPACTED = "it is compacted, so Kafka removes records: `mix-bridge topics plan` has the fix"


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts on all sessions, and the topics that were read."""

    sessions: tuple[SessionVerdict, ...]
    topics: tuple[TopicRead, ...]
    limits: tuple[str, ...]
    """Sentences about losses that numbers cannot show."""

    @classmethod
    def of(cls, audit: Audit, settings: Settings) -> Report:
        """Judge all sessions."""
        sessions = tuple(judge(audit.ledger))
        topics = audit.topics(is_loss=not all(session.finding.is_good for session in sessions))
        return cls(sessions, topics, tuple(_limits(sessions, topics, settings)))

    @property
    def is_good(self) -> bool:
        """Whether every missing number is explained."""
        return all(session.finding.is_good for session in self.sessions)

    def document(self) -> dict[str, Any]:
        """Return the document that docs/verify.md describes."""
        return {
            "verdict": "complete" if self.is_good else "loss",
            "totals": self.totals(),
            "sessions": [_session(session) for session in self.sessions],
            "topics": [asdict(topic) for topic in self.topics],
            "cannot_see": list(self.limits),
        }

    def totals(self) -> dict[str, int]:
        """Sum the counts of all sessions."""
        findings = Counter(session.finding for session in self.sessions)
        summed = ("records", "lost", *_COUNTS, "out_of_order")
        return {
            "sessions": len(self.sessions),
            **{f"sessions_{finding.value}": findings[finding] for finding in Finding},
            **{name: sum(session.total(name) for session in self.sessions) for name in summed},
            "replayed": sum(session.account.replayed for session in self.sessions),
            "gaps": sum(session.account.gaps.kinds.total() for session in self.sessions),
            "gaps_missing": sum(session.account.gaps.missing for session in self.sessions),
            "gaps_unknown": sum(session.account.gaps.unknown for session in self.sessions),
            "foreign": sum(topic.foreign for topic in self.topics),
        }


def _session(session: SessionVerdict) -> dict[str, Any]:
    server, _, session_id = session.key.decode(errors="replace").partition("/")
    account, gaps = session.account, session.account.gaps
    return {
        "server": server,
        "session": session_id,
        "verdict": session.finding.value,
        "epochs": [_epoch(epoch) for epoch in session.epochs],
        "gaps": {**gaps.kinds, "missing": gaps.missing, "unknown": gaps.unknown},
        "replayed": account.replayed,
        "checkpoint": None if account.checkpoint is None else account.checkpoint._asdict(),
    }


def _epoch(epoch: EpochVerdict) -> dict[str, Any]:
    members: dict[str, Any] = {"epoch": epoch.epoch, "verdict": epoch.finding.value}
    members["complete"] = epoch.finding is Finding.COMPLETE
    for name in (field.name for field in fields(epoch)):
        members[name] = value = getattr(epoch, name)
        if isinstance(value, Missing):
            members |= {name: value.spans, f"{name}_count": value.count, f"{name}_spans_left_out": value.spans_left_out}
    return members


def _limits(sessions: Iterable[SessionVerdict], topics: Iterable[TopicRead], settings: Settings) -> Iterator[str]:
    yield "events that a server dropped before the bridge numbered them, unless the ids of the server show it"
    unproven = sorted(name for name, server in settings.servers.items() if not server.overlap)
    if unproven:
        yield f"whether streams of {', '.join(unproven)} were resumed correctly: overlap is false"
    unresumable = sum(1 for session in sessions if session.account.gaps.kinds["unresumable"])
    if unresumable:
        yield f"events that {counted(unresumable, 'session')} missed while they could not be resumed (unresumable)"
    without = sum(1 for session in sessions if session.is_known and session.account.checkpoint is None)
    if without:
        yield f"a lost end of {counted(without, 'session')} without a checkpoint"
    if any(topic.is_cut for topic in topics):
        yield "records that retention removed or --since excluded"


def parts(report: Report, *, every: bool) -> Iterator[RenderableType]:
    """The topics, a row for each session, the details, the summary and what cannot be detected."""
    yield from (_topic_line(topic) for topic in report.topics)
    shown: Sequence[SessionVerdict] = report.sessions
    if not every:
        # Expired records are not notable: with retention or ``--since`` nearly every session has some.
        notable = (one for one in shown if not one.finding.is_good or _counts(one, but={"expired"}))
        shown = worst(shown if len(shown) <= _FEW else notable, _MAX_ROWS)
    if shown:
        yield ""
        yield _table(shown)
        yield ""
    lines = [line for session in shown for line in _lines_of(session)]
    yield from lines[:_MAX_DETAILS]
    if len(lines) > _MAX_DETAILS:
        yield Text(f"... and {len(lines) - _MAX_DETAILS:,} lines like these (--json has all)")
    left = len(report.sessions) - len(shown)
    if left and shown:
        yield f"and {counted(left, 'session')} more, none of them worse (--all)"
    totals = report.totals()
    counts = [counted(totals["sessions"], "session"), counted(totals["records"], "record")]
    counts += [f"{totals['lost']:,} lost"] if totals["lost"] else []
    counts += [text(totals[name]) for name, text in _COUNTS.items() if totals[name]]
    counts += [f"{totals['replayed']:,} replayed"] if totals["replayed"] else []
    counts += [counted(totals["gaps"], "server gap")] if totals["gaps"] else []
    counts += [counted(totals["foreign"], "foreign record")] if totals["foreign"] else []
    yield Text.assemble(_verdict(report), f" ({', '.join(counts)})")
    yield from (Text(f"cannot detect: {sentence}", "bright_black") for sentence in report.limits)


def _verdict(report: Report) -> Text:
    bad = [session for session in report.sessions if not session.finding.is_good]
    if not bad:
        return _complete(report.totals())
    if all(session.finding is Finding.UNKNOWN for session in bad):
        return Text(f"{counted(len(bad), 'requested session')} unknown: no record names it", "bold red")
    return Text(f"LOSS in {counted(len(bad), 'session')}", "bold red")


def _complete(totals: Mapping[str, int]) -> Text:
    """No number is missing. What the server announced as missing never had one."""
    gaps, missing, unknown = totals["gaps"], totals["gaps_missing"], totals["gaps_unknown"]
    if not gaps:
        return Text("complete: nothing is lost", "bold green")
    events = [f"{missing:,} events missing"] if missing else []
    events += [f"missing events unknown{'' if unknown == gaps else f' in {unknown:,} of them'}"] if unknown else []
    texts = [counted(gaps, "gap"), *(events or ["no event missing"])]
    return Text(f"complete as far as the bridge received it; {', '.join(texts)}", "bold yellow")


def _topic_line(topic: TopicRead) -> Text:
    if not topic.partitions:
        return Text(f"{topic.name}: does not exist", "yellow")
    text = f"{topic.name}: {counted(topic.records, 'record')} in {counted(topic.partitions, 'partition')}"
    text += ", not from the beginning" if topic.is_cut else ""
    foreign = Text(f", {topic.foreign:,} of them foreign" if topic.foreign else "", "yellow")
    compacted = Text(f"; {_COMPACTED}" if topic.is_compacted else "", "red")
    return Text(text) + foreign + compacted


def _table(sessions: Sequence[SessionVerdict]) -> Table:
    numbers, long = ("RECORDS", "LOST"), ("SESSION", "COUNTS")
    made = table("VERDICT", "SESSION", *numbers, "COUNTS", right=numbers, fold=long)
    for one in sessions:
        lost = one.total("lost")
        made.add_row(
            Text(one.finding.value, "green") if one.finding.is_good else Text(one.finding.value.upper(), "red"),
            visible_bytes(one.key),
            f"{one.total('records'):,}",
            Text(f"{lost:,}", "red") if lost else "-",
            ", ".join(_counts(one)),
        )
    return made


def _counts(session: SessionVerdict, but: Collection[str] = ()) -> list[str]:
    counts = [(session.total(name), text) for name, text in _COUNTS.items() if name not in but]
    account, gaps = session.account, session.account.gaps.kinds.total()
    return [
        *(text(count) for count, text in counts if count),
        *([f"{account.replayed:,} replayed"] if account.replayed else []),
        *([counted(gaps, "gap")] if gaps else []),
        *([f"{len(session.epochs)} epochs"] if len(session.epochs) > 1 else []),
    ]


def _lines_of(session: SessionVerdict) -> Iterator[Text]:
    key = visible_bytes(session.key)
    for epoch in session.epochs:
        place = f"{key} epoch {epoch.epoch}: "
        if epoch.lost:
            above = f", {epoch.truncated:,} of them above its last record, {epoch.last or 0:,}"
            yield Text(place) + Text(f"lost {_spans(epoch.lost)}{above if epoch.truncated else ''}", "red")
        if epoch.hidden:
            rule = "consumers that follow the rule drop them"
            yield Text(place) + Text(f"out of order {_spans(epoch.hidden)}: {rule}", "red")
        if epoch.in_flight:
            number = f"{epoch.in_flight:,} missing above {epoch.required:,}, its last position"
            yield Text(f"{place}{number}: perhaps not yet written")
    if (gaps := session.account.gaps).kinds:
        kinds = ", ".join(f"{visible(kind)} {count}" for kind, count in gaps.kinds.items())
        unknown = f", unknown in {gaps.unknown} of them" if gaps.unknown else ""
        yield Text(f"{key}: gaps of the server: {kinds} (missing events: {gaps.missing:,}{unknown})", "yellow")


def _spans(missing: Missing) -> str:
    texts = [f"{first}" if first == last else f"{first}-{last}" for first, last in missing.spans[:_MAX_SPANS]]
    more = len(missing.spans) - len(texts) + missing.spans_left_out
    return ", ".join(texts) + (f" and {more:,} more places" if more else "") + f" ({missing.count:,} in all)"
