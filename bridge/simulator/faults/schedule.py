"""Which faults happen when: a list somebody wrote, or a row that chance makes and a seed repeats. Pure.

A list is JSON: ``[{"at": 2.5, "fault": {"kind": "cut", "after": 100, "times": 1}}, …]``, with seconds after the start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from bridge.simulator.faults import kinds as faults
from bridge.simulator.faults.requests import Order, order_of

_USUAL_INTERVAL = 5.0


class Due(NamedTuple):
    """A fault and its time, in seconds after the server's start."""

    at: float
    order: Order


class Chaos(NamedTuple):
    """A seed, and the seconds between two faults on average."""

    seed: int
    interval: float = _USUAL_INTERVAL

    @classmethod
    def parse(cls, text: str) -> Chaos:
        """``SEED`` or ``SEED:INTERVAL``."""
        seed, colon, interval = text.partition(":")
        chaos = cls(int(seed), float(interval) if colon else _USUAL_INTERVAL)
        if not 0 < chaos.interval < float("inf"):
            raise ValueError("the interval of chaos is above 0 seconds")
        return chaos


def schedule_of(text: str) -> list[Due]:
    """The list in a file, by time; ValueError says what is wrong with it."""
    listed = json.loads(text)
    if not isinstance(listed, list):
        raise ValueError("a schedule is a list of {at, fault}")  # noqa: TRY004 - a wrong file, not a wrong type
    return sorted((_due(each) for each in listed), key=lambda due: due.at)


def _due(listed: Any) -> Due:  # noqa: ANN401 - JSON
    if not isinstance(listed, dict) or set(listed) != {"at", "fault"} or not isinstance(listed["at"], int | float):
        raise ValueError(f"{json.dumps(listed)[:100]} is not {{at: seconds, fault}}")
    return Due(float(listed["at"]), order_of(listed["fault"]))


def chaos(plan: Chaos) -> Iterator[Due]:
    """Faults for ever, all harmless to the truth: whatever happens, each event can still be had by who asks again."""
    rng = Random(plan.seed)  # noqa: S311 - it must repeat, it keeps no secret
    at = 0.0
    while True:
        at += plan.interval * rng.uniform(0.5, 1.5)
        yield Due(at, rng.choice(_HARMLESS)(rng))


_HARMLESS: tuple[Callable[[Random], Order], ...] = (
    lambda rng: Order(faults.Cut(into_event=rng.randint(1, 80), how=rng.choice(("fin", "rst", "end"))), times=2),
    lambda rng: Order(faults.Cut(after=rng.randint(0, 5000), how=rng.choice(("fin", "rst"))), times=2),
    lambda rng: Order(faults.Disconnect(rng.choice(("fin", "rst", "end")))),
    lambda rng: Order(faults.Restart(down=round(rng.uniform(0.2, 2.0), 1))),
    lambda rng: Order(faults.Refuse(), seconds=round(rng.uniform(0.5, 2.0), 1)),
    lambda rng: Order(faults.Refuse("reset"), times=rng.randint(1, 3), seconds=3.0),
    lambda rng: Order(faults.Silence(), seconds=round(rng.uniform(0.5, 3.0), 1)),
    lambda rng: Order(faults.Comments(), seconds=round(rng.uniform(0.5, 3.0), 1)),
    lambda rng: Order(faults.Drip(0.05), times=1, seconds=round(rng.uniform(0.5, 2.0), 1)),
    lambda rng: Order(faults.Frame("close", gzip=rng.random() < 0.5), times=3),  # noqa: PLR2004 - a coin
    lambda rng: Order(faults.Frame("length", rng.randint(500, 20_000)), times=2),
    lambda rng: Order(faults.Status(rng.choice((500, 502, 503)), retry_after=rng.choice((None, 1.0))), times=2),
    lambda _: Order(faults.Status(429, retry_after=1.0, retry_after_form="date"), times=1),
    lambda _: Order(faults.Login(), times=1),
    lambda _: Order(faults.Redirect(), times=1),
    lambda _: Order(faults.Frame(content_type="text/plain"), times=1),
    lambda rng: Order(faults.Mute(), times=1, seconds=round(rng.uniform(0.5, 2.0), 1)),
    lambda rng: Order(faults.Poison(rng.choice(("bad_utf8", "bad_json", "duplicate_keys", "line_ends", "odd_fields")))),
)
