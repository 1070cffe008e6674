"""The live page of all workers: what each of them would show, in one view."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from bridge.clock import monotonic
from bridge.core.snapshot import Counters
from bridge.observe.metrics.of_bridge import Seats
from bridge.observe.page.feed import NAMES, Change, Present, Source
from bridge.observe.page.view import figures, judged, without_empty
from bridge.workers.merge import AWAY, SUMS, Counted, OfWorker, Totals, by_server, worst_topics
from bridge.workers.queries import Workers

_WAITS: Final = 1.5
"""Seconds for a worker: the page reports a lost connection after 4 s without a view, and one that hangs must not cause
that."""


class Parent(NamedTuple):
    """What the parent knows."""

    own: Mapping[str, Any]
    """What it says of itself."""
    seats: Seats
    owners: Collection[str]
    """The names of all processes that were its workers."""


def of_workers(workers: Workers, own: Callable[[], Mapping[str, Any]], seats: Callable[[], Seats]) -> Source:
    """The source of a feed for several processes. ``own``: what the parent says of itself.

    What a process counted stays in the sums after its end, so that a gap stays in the verdict of the last hour.
    """
    totals, owners = Totals[tuple[str, ...]](), set[str]()

    async def take() -> Present:
        answers = await asyncio.to_thread(workers.documents, "/api/view", seconds=_WAITS)
        for each in answers:
            if each.body is not None:
                totals.note(each.number, _counted(each.body))
                owners.add(each.body["bridge"].get("owner", ""))  # stays: the others name one that ended for a while
        found = _counters(totals.sums())
        return Present(found, partial(merged_view, answers, Parent(own(), seats(), owners), monotonic(), found))

    return take


def merged_view(
    answers: Sequence[OfWorker],
    parent: Parent,
    now: float,
    totals: Counters,
    hour: Change,
) -> dict[str, Any]:
    """One view. All processes of a machine have the same monotonic clock, so their moments can be compared."""
    present = [each for each in answers if each.body is not None]
    bodies = [each.body for each in present]
    others = {name: each for body in bodies for name, each in body["replicas"].items()}
    return judged({
        "clock": round(now, 3),
        "checks": {name: check for each in answers for name, check in _checks(each)},
        "bridge": _bridge([each["bridge"] for each in bodies], parent.own),
        "workers": {str(each.number): _worker(each, parent.seats) for each in answers},
        "replicas": {name: each for name, each in others.items() if name not in parent.owners},
        # Two workers may have one shard for a moment, while it moves
        "shards": {f"{key}/{of}": one for key, of, one in _rows(present, "shards")},
        "servers": by_server(bodies, _server),
        "topics": worst_topics(bodies),
        "sessions": {key: one for key, _, one in _rows(present, "sessions")},
        **figures(totals, hour),
    })  # fmt: skip


def _checks(answer: OfWorker) -> list[tuple[str, dict[str, Any]]]:
    name = f"worker-{answer.number}"
    if answer.body is None:
        return [(name, {"ok": False, "detail": AWAY})]
    return [(f"{name}:{each}", check) for each, check in answer.body["checks"].items()]


def _worker(answer: OfWorker, seats: Seats) -> dict[str, Any]:
    _, restarts = seats.get(answer.number, (False, 0))
    owner = "" if answer.body is None else answer.body["bridge"].get("owner", "")
    return without_empty({"answers": answer.body is not None, "owner": owner, "restarts": restarts})


def _rows(present: Sequence[OfWorker], part: str) -> list[tuple[str, int, dict[str, Any]]]:
    return [
        (key, each.number, {**one, "worker": each.number}) for each in present for key, one in each.body[part].items()
    ]


def _bridge(parts: Sequence[Mapping[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
    answered = [each.get("kafka_answered_at") for each in parts]
    return without_empty({
        **own,
        **{name: sum(each.get(name, 0) for each in parts) for name in SUMS},
        "shard_count": max((each.get("shard_count", 0) for each in parts), default=0),
        "kafka_answered_at": min((each for each in answered if each is not None), default=None),
    })  # fmt: skip


def _server(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return without_empty({
        "reachable": any(each.get("reachable") for each in parts),
        **{name: max(each.get(name, 0) for each in parts) for name in ("listed_at", "listed")},
        **{name: sum(each.get(name, 0) for each in parts) for name in ("not_bridged", "streaming", "sessions")},
    })  # fmt: skip


def _counted(body: Mapping[str, Any]) -> Counted[tuple[str, ...]]:
    values: dict[tuple[str, ...], float] = {(name,): count for name, count in body["totals"].items()}
    values |= {("dead_letters", reason): each["total"] for reason, each in body["dead_letters"].items()}
    return Counted(body["bridge"]["started_at_ms"], values)


def _counters(sums: Mapping[tuple[str, ...], float]) -> Counters:
    reasons = {key[1]: int(count) for key, count in sums.items() if key[0] == "dead_letters"}
    return Counters(dead_letters=reasons, **{name: int(sums.get((name,), 0)) for name in NAMES})
