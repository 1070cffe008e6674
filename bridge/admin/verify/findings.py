"""Judges each session and epoch: complete, or what is lost and what explains it. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from bridge.admin.verify.accounts import EpochAccount, Ledger, SessionAccount
from bridge.admin.verify.number_set import NumberSet, Span, size_of

_MAX_SPANS = 1000
"""Of lost numbers in one epoch: if every second number is lost, more would fill the memory."""


class Finding(StrEnum):
    """The verdict on a session, from good to bad."""

    COMPLETE = "complete"
    EXPIRED = "expired"
    """Everything that retention has not removed exists."""
    UNKNOWN = "unknown"
    """It was requested by name, and no record names it."""
    LOSS = "loss"

    @property
    def is_good(self) -> bool:
        """Whether every missing number is explained."""
        return self in {Finding.COMPLETE, Finding.EXPIRED}


_BADNESS = list(Finding)


@dataclass(frozen=True, slots=True)
class Missing:
    """Numbers as spans; the count includes those whose spans are left out."""

    count: int = 0
    spans: tuple[Span, ...] = ()
    spans_left_out: int = 0

    @classmethod
    def of(cls, spans: Iterable[Span]) -> Missing:
        """Count all spans and keep the first thousand."""
        count, left_out = 0, 0
        kept: list[Span] = []
        for first, last in spans:
            count += last - first + 1
            if len(kept) < _MAX_SPANS:
                kept.append((first, last))
            else:
                left_out += 1
        return cls(count, tuple(kept), left_out)

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochVerdict:
    """One epoch: every number from 1 to ``required`` must exist."""

    epoch: int
    first: int | None
    last: int | None
    stated: int | None
    """A checkpoint or a lifecycle record states that every number up to this one is in Kafka."""
    required: int
    records: int
    lost: Missing
    truncated: int
    """The lost numbers above the last existing one."""
    hidden: Missing
    """Existing numbers behind a higher number in their partition: consumers that follow the rule drop them."""
    repeats: int
    out_of_order: int
    dead_letters: int
    expired: int
    in_flight: int
    """Missing above the last statement of a running session: perhaps not yet written."""
    superseded: int
    """Existing numbers above the end of the epoch: their events have other numbers in the next one."""

    @property
    def finding(self) -> Finding:
        """The verdict on the epoch."""
        if self.lost or self.hidden:
            return Finding.LOSS
        return Finding.EXPIRED if self.expired else Finding.COMPLETE


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionVerdict:
    """One session."""

    key: bytes
    account: SessionAccount
    epochs: tuple[EpochVerdict, ...]
    is_known: bool
    """Whether a record names it."""

    @property
    def finding(self) -> Finding:
        """The verdict on the worst epoch."""
        found = [epoch.finding for epoch in self.epochs]
        return max(found, key=_BADNESS.index, default=Finding.COMPLETE if self.is_known else Finding.UNKNOWN)

    def total(self, name: str) -> int:
        """Sum a count over all epochs."""
        values = (getattr(epoch, name) for epoch in self.epochs)
        return sum(value.count if isinstance(value, Missing) else value for value in values)


def judge(ledger: Ledger) -> Iterator[SessionVerdict]:
    """Judge every session, sorted by key, including requested ones that do not exist."""
    for key in sorted(ledger.sessions.keys() | (ledger.only or ())):
        account = ledger.sessions.get(key) or SessionAccount()
        numbers = sorted(account.epochs.keys() | account.statements.keys())
        newest = max([account.newest_epoch, *numbers])
        epochs = tuple(_judge_epoch(account, number, is_over=number < newest) for number in numbers)
        yield SessionVerdict(key=key, account=account, epochs=epochs, is_known=key in ledger.sessions)


def _judge_epoch(account: SessionAccount, number: int, *, is_over: bool) -> EpochVerdict:
    epoch = account.epochs.get(number) or EpochAccount()
    stated = account.statements.get(number)
    if is_over and stated is None:
        required = epoch.highest
    elif is_over or account.checkpoint is not None:
        required = stated or 0  # above the checkpoint of a running session, records may still be on their way
    else:
        required = max(stated or 0, epoch.highest)
    existing, edge, highest = epoch.present | epoch.replays, account.edge(), max(required, epoch.highest)
    gone = 0
    if number <= edge.epoch:
        gone = min(edge.sequence - 1, highest) if number == edge.epoch else highest
    superseded = is_over and stated is not None
    return EpochVerdict(
        epoch=number,
        first=next((first for first, _ in epoch.present.spans()), None),
        last=epoch.highest or None,
        stated=stated,
        required=required,
        records=epoch.records,
        lost=Missing.of(existing.holes(gone + 1, required)),
        truncated=size_of(existing.holes(max(gone, epoch.highest) + 1, required)),
        hidden=Missing.of(_within(epoch.hidden, 1, required if superseded else epoch.highest)),
        out_of_order=epoch.out_of_order,
        repeats=epoch.repeats,
        dead_letters=epoch.dead_letters,
        expired=size_of(existing.holes(1, min(gone, required))),
        in_flight=0 if is_over else size_of(existing.holes(max(gone, required) + 1, epoch.highest)),
        superseded=size_of(_within(epoch.present, required + 1, epoch.highest)) if superseded else 0,
    )


def _within(numbers: NumberSet, first: int, last: int) -> Iterator[Span]:
    for start, end in numbers.spans():
        if start <= last and end >= first:
            yield max(start, first), min(end, last)


def worst(verdicts: Iterable[SessionVerdict], most: int) -> list[SessionVerdict]:
    """Return the worst sessions first, then by key; at most ``most``."""
    return heapq.nsmallest(most, verdicts, key=lambda one: (-_BADNESS.index(one.finding), one.key))
