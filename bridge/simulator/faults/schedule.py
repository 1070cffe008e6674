"""When faults happen: a list from a file, or a random sequence that a seed repeats. Pure.

The file is JSON: ``[{"at": 2.5, "fault": {"kind": "cut", "after": 100, "times": 1}}, …]``, in seconds after the start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from bridge.simulator.faults import kinds
from bridge.simulator.faults.kinds import Fault, parse_fault

_DEFAULT_INTERVAL = 5.0


class ScheduledFault(NamedTuple):
    """A fault and its time, in seconds after the server's start."""

    at: float
    fault: Fault


def parse_schedule(text: str) -> list[ScheduledFault]:
    """Parse a schedule and sort it by time. ValueError describes the first mistake."""
    listed = json.loads(text)
    if not isinstance(listed, list):
        raise ValueError("a schedule is a list of {at, fault}")  # noqa: TRY004 - a wrong file, not a wrong type
    return sorted((_scheduled(each) for each in listed), key=lambda scheduled: scheduled.at)


def _scheduled(listed: Any) -> ScheduledFault:  # noqa: ANN401 - JSON
    if not isinstance(listed, dict) or set(listed) != {"at", "fault"} or not isinstance(listed["at"], int | float):
        raise ValueError(f"{json.dumps(listed)[:100]} is not {{at: seconds, fault}}")
    return ScheduledFault(float(listed["at"]), parse_fault(listed["fault"]))


class Chaos(NamedTuple):
    """A seed, and the average seconds between two faults."""

    seed: int
    interval: float = _DEFAULT_INTERVAL

    @classmethod
    def parse(cls, text: str) -> Chaos:
        seed, colon, interval = text.partition(":")
        chaos = cls(int(seed), float(interval) if colon else _DEFAULT_INTERVAL)
        if not 0 < chaos.interval < float("inf"):
            raise ValueError("the interval of chaos must be above 0 seconds")
        return chaos

    def faults(self) -> Iterator[ScheduledFault]:
        """Yield faults without end. None of them loses events: a client that reconnects gets every event."""
        rng = Random(self.seed)  # noqa: S311 - a repeatable sequence, not a secret
        at = 0.0
        while True:
            at += self.interval * rng.uniform(0.5, 1.5)
            yield ScheduledFault(at, rng.choice(_LOSSLESS)(rng))


_LOSSLESS: tuple[Callable[[Random], Fault], ...] = (
    lambda rng: kinds.Cut(into_event=rng.randint(1, 80), how=rng.choice(("fin", "rst", "end")), times=2),
    lambda rng: kinds.Cut(after=rng.randint(0, 5000), how=rng.choice(("fin", "rst")), times=2),
    lambda rng: kinds.Disconnect(how=rng.choice(("fin", "rst", "end"))),
    lambda rng: kinds.Restart(down=round(rng.uniform(0.2, 2.0), 1)),
    lambda rng: kinds.Refuse(seconds=round(rng.uniform(0.5, 2.0), 1)),
    lambda rng: kinds.Refuse(how="reset", times=rng.randint(1, 3), seconds=3.0),
    lambda rng: kinds.Silence(seconds=round(rng.uniform(0.5, 3.0), 1)),
    lambda rng: kinds.Comments(seconds=round(rng.uniform(0.5, 3.0), 1)),
    lambda rng: kinds.Drip(interval=0.05, times=1, seconds=round(rng.uniform(0.5, 2.0), 1)),
    lambda rng: kinds.Frame(framing="close", gzip=rng.random() < 0.5, times=3),  # noqa: PLR2004 - a coin
    lambda rng: kinds.Frame(framing="length", length=rng.randint(500, 20_000), times=2),
    lambda rng: kinds.Status(status=rng.choice((500, 502, 503)), retry_after=rng.choice((None, 1.0)), times=2),
    lambda _: kinds.Status(status=429, retry_after=1.0, retry_after_form="date", times=1),
    lambda _: kinds.Login(times=1),
    lambda _: kinds.Redirect(times=1),
    lambda _: kinds.Frame(content_type="text/plain", times=1),
    lambda rng: kinds.Mute(times=1, seconds=round(rng.uniform(0.5, 2.0), 1)),
    lambda rng: kinds.MalformedEvent(
        malformation=rng.choice(("bad_utf8", "bad_json", "duplicate_keys", "line_ends", "odd_fields"))
    ),
)
