"""What the accounts say: per session and epoch complete, or what is lost, and what explains it. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bridge.admin.verify.accounts import BEHIND_ALL, EpochAccount, Ledger, Number, SessionAccount
from bridge.admin.verify.number_set import NumberSet, Span, size_of
from bridge.admin.verify.record_numbers import Statement

_MOST_SPANS = 1000
"""Of the lost numbers of one epoch told one by one: with every second one lost they would fill the memory."""


class Finding(StrEnum):
    """What is said of a session, from good to bad."""

    COMPLETE = "complete"
    EXPIRED = "expired"
    """All that can still be there is."""
    UNKNOWN = "unknown"
    """It was asked for by name, and no topic knows it."""
    LOSS = "loss"

    @property
    def is_good(self) -> bool:
        """Whether nothing is unexplained."""
        return self in {Finding.COMPLETE, Finding.EXPIRED}


_BADNESS = list(Finding)


@dataclass(frozen=True, slots=True)
class Missing:
    """Numbers, as spans; the count holds those too whose spans are left out."""

    count: int = 0
    spans: tuple[Span, ...] = ()
    spans_left_out: int = 0

    @classmethod
    def of(cls, spans: Iterable[Span]) -> Missing:
        """Of any number of spans the count and the first thousand."""
        count, left_out = 0, 0
        told: list[Span] = []
        for first, last in spans:
            count += last - first + 1
            if len(told) < _MOST_SPANS:
                told.append((first, last))
            else:
                left_out += 1
        return cls(count, tuple(told), left_out)

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochVerdict:
    """One epoch: every number from 1 to ``required`` must be there."""

    epoch: int
    first: int | None
    """The lowest number that is there."""
    last: int | None
    """The highest."""
    stated: int | None
    """Up to here a checkpoint or a lifecycle record says that all is in Kafka."""
    required: int
    records: int
    lost: Missing
    truncated: int
    """Those of the lost that lie behind the last one that is there."""
    hidden: Missing
    """There, but behind a higher number in their partition: a consumer that follows the rule drops them."""
    out_of_order: int
    repeats: int
    dead_letters: int
    expired: int
    in_flight: int
    """Missing above the last statement of a session that goes on: perhaps not yet written."""
    superseded: int
    """There, above what the epoch came to: their events were numbered again in the next one."""

    @property
    def finding(self) -> Finding:
        """In a word."""
        if self.lost or self.hidden:
            return Finding.LOSS
        return Finding.EXPIRED if self.expired else Finding.COMPLETE


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionVerdict:
    """One session."""

    key: bytes
    is_known: bool = True
    """Whether any record names it."""
    epochs: tuple[EpochVerdict, ...] = ()
    checkpoint: Statement | None = None
    replayed: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    gaps_missing: int = 0
    gaps_unknown: int = 0

    @property
    def finding(self) -> Finding:
        """That of the worst epoch."""
        found = [epoch.finding for epoch in self.epochs]
        return max(found, key=_BADNESS.index, default=Finding.COMPLETE if self.is_known else Finding.UNKNOWN)

    def total(self, name: str) -> int:
        """A count of all epochs together."""
        values = (getattr(epoch, name) for epoch in self.epochs)
        return sum(value.count if isinstance(value, Missing) else value for value in values)


def judge(ledger: Ledger) -> Iterator[SessionVerdict]:
    """Every session by its key; also those that were asked for and are not there."""
    for key in sorted(ledger.sessions.keys() | (ledger.only or ())):
        account = ledger.sessions.get(key)
        yield SessionVerdict(key=key, is_known=False) if account is None else judge_session(key, account)


def judge_session(key: bytes, account: SessionAccount) -> SessionVerdict:
    """One session."""
    numbers = sorted(account.epochs.keys() | account.statements.keys())
    newest = max([account.told_epoch, *numbers])
    return SessionVerdict(
        key=key,
        epochs=tuple(_judge_epoch(account, number, is_over=number < newest) for number in numbers),
        checkpoint=account.checkpoint,
        replayed=account.replayed,
        gaps=account.gaps.kinds,
        gaps_missing=account.gaps.missing,
        gaps_unknown=account.gaps.unknown,
    )


def _judge_epoch(account: SessionAccount, number: int, *, is_over: bool) -> EpochVerdict:
    epoch = account.epochs.get(number) or EpochAccount()
    stated = account.statements.get(number)
    required = _required(account, epoch, stated, is_over=is_over)
    there = epoch.present if epoch.replays is None else epoch.present | epoch.replays
    gone = min(_expired_up_to(account.edge(), number), max(required, epoch.highest))
    lost = Missing.of(there.holes(gone + 1, required))
    superseded = is_over and stated is not None
    return EpochVerdict(
        epoch=number,
        first=epoch.lowest or None,
        last=epoch.highest or None,
        stated=stated,
        required=required,
        records=epoch.records,
        lost=lost,
        truncated=size_of(there.holes(max(gone, epoch.highest) + 1, required)),
        hidden=Missing.of(_up_to(epoch.hidden, required if superseded else epoch.highest)),
        out_of_order=epoch.out_of_order,
        repeats=epoch.repeats,
        dead_letters=epoch.dead_letters,
        expired=size_of(there.holes(1, min(gone, required))),
        in_flight=0 if is_over else size_of(there.holes(max(gone, required) + 1, epoch.highest)),
        superseded=size_of(_within(epoch.present, required + 1, epoch.highest)) if superseded else 0,
    )


def _required(account: SessionAccount, epoch: EpochAccount, stated: int | None, *, is_over: bool) -> int:
    if is_over:
        return epoch.highest if stated is None else stated
    # What a session with a checkpoint has above it may still be under way.
    return (stated or 0) if account.checkpoint is not None else max(stated or 0, epoch.highest)


def _expired_up_to(edge: Number, epoch: int) -> int:
    if epoch < edge[0]:
        return BEHIND_ALL[0]
    return edge[1] - 1 if epoch == edge[0] else 0


def _up_to(numbers: NumberSet | None, last: int) -> Iterator[Span]:
    return iter(()) if numbers is None else _within(numbers, 1, last)


def _within(numbers: NumberSet, first: int, last: int) -> Iterator[Span]:
    for start, end in numbers.spans():
        if start <= last and end >= first:
            yield max(start, first), min(end, last)


def worst(verdicts: Iterable[SessionVerdict], most: int) -> list[SessionVerdict]:
    """So many of the sessions, the worst first, else by their keys."""
    return heapq.nsmallest(most, verdicts, key=lambda one: (-_BADNESS.index(one.finding), one.key))
