"""The result of ``mix-bridge verify``, and its JSON document. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from bridge.admin.text import counted
from bridge.admin.verify.audit import Audit, TopicRead
from bridge.admin.verify.findings import EpochVerdict, Finding, Missing, SessionVerdict, judge
from bridge.settings import Settings

EPOCH_COUNTS = ("hidden", "repeats", "dead_letters", "expired", "in_flight", "superseded")
"""Counts of an epoch besides records and lost."""


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
        sessions, topics = tuple(judge(audit.ledger)), audit.topics()
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
        summed = ("records", "lost", *EPOCH_COUNTS, "out_of_order")
        return {
            "sessions": len(self.sessions),
            **{f"sessions_{finding.value}": findings[finding] for finding in Finding},
            **{name: sum(session.total(name) for session in self.sessions) for name in summed},
            "replayed": sum(session.account.replayed for session in self.sessions),
            "gaps": sum(session.account.gaps.kinds.total() for session in self.sessions),
            "gaps_missing": sum(session.account.gaps.missing for session in self.sessions),
            "foreign": sum(topic.foreign for topic in self.topics),
        }


def _session(session: SessionVerdict) -> dict[str, Any]:
    server, _, session_id = session.key.decode(errors="replace").partition("/")
    account = session.account
    return {
        "server": server,
        "session": session_id,
        "verdict": session.finding.value,
        "epochs": [_epoch(epoch) for epoch in session.epochs],
        "gaps": {**account.gaps.kinds, "missing": account.gaps.missing, "unknown": account.gaps.unknown},
        "replayed": account.replayed,
        "checkpoint": None if account.checkpoint is None else account.checkpoint._asdict(),
    }


def _epoch(epoch: EpochVerdict) -> dict[str, Any]:
    members: dict[str, Any] = {"epoch": epoch.epoch, "verdict": epoch.finding.value}
    members["complete"] = epoch.finding is Finding.COMPLETE
    for name in (field.name for field in fields(epoch)):
        value = getattr(epoch, name)
        if isinstance(value, Missing):
            members |= {name: value.spans, f"{name}_count": value.count, f"{name}_spans_left_out": value.spans_left_out}
        else:
            members[name] = value
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
