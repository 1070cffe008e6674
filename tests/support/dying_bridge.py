"""``mix-bridge`` that ends itself at a named point of its way: ``--point after_read --passage 7 -- run ...``.

A kill from outside hits a moment of a millisecond by luck alone. Here the functions at such a moment are wrapped, and
the process sends itself the signal at the n-th passage. Nothing of this is in the bridge: a wrapped function that is no
longer there ends the start with 3 and says which. ``--when FILE``: passages count once that file is there.

``--clock FILE`` puts the wall clock ahead by the seconds that stand in a file, read anew each time somebody asks it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any

_GONE = 3

Counts = Callable[[tuple[Any, ...], Any], bool]


@dataclass(frozen=True, slots=True)
class Point:
    """The end of a call inside the bridge, or its beginning. ``counts`` tells a passage by its arguments and result."""

    module: str
    path: str
    counts: Counts = lambda _given, _result: True
    before: bool = False


def _is_in_flight(given: tuple[Any, ...], _result: Any) -> bool:
    return bool(given[0].in_flight)


def _is_ahead_of_its_checkpoint(given: tuple[Any, ...], _result: Any) -> bool:
    acknowledged = given[0].session.in_flight.acknowledged
    return acknowledged is not None and acknowledged != given[0].checkpoints.written


def _is_a_checkpoint(given: tuple[Any, ...], _result: Any) -> bool:
    return bool(_position(given).sequence)


def _begins_an_epoch(given: tuple[Any, ...], _result: Any) -> bool:
    return not _position(given).sequence


def _is_an_acknowledged_epoch(given: tuple[Any, ...], _result: Any) -> bool:
    entry = given[0]
    return type(entry).__name__ == "CheckpointBarrier" and entry.begins_epoch and entry.stage.name == "ACKNOWLEDGED"


def _is_an_acknowledged_announcement(given: tuple[Any, ...], _result: Any) -> bool:
    return type(given[0]).__name__ == "Announcement" and given[0].stage.name == "ACKNOWLEDGED"


def _is_of_somebody_else(given: tuple[Any, ...], _result: Any) -> bool:
    """A record from before this process claimed the shard."""
    return not given[2].key.startswith(b"#")


def _position(given: tuple[Any, ...]) -> Any:
    """The position among a call's arguments, or that of the checkpoint or mark among them."""
    for each in given[1:]:
        found = getattr(each, "position", each)
        if hasattr(found, "sequence"):
            return found
    raise SystemExit(f"no position among {given[1:]}")


_PUBLISHER, _SENDER, _CHECKPOINTS = (
    f"bridge.delivery.{name}" for name in ("publisher", "idempotent_sender", "checkpoint_writer")
)
_ENTRY = "bridge.core.in_flight"
_READER, _TRANSACTIONS, _SHARDS = "bridge.sharding.restore", "bridge.kafka.transactional", "bridge.sharding.shard"

POINTS = {
    "after_read": Point("bridge.sse.event_stream", "EventStream.read"),
    "after_produce": Point(_PUBLISHER, "SessionPublisher._submit_batch", _is_in_flight),
    "after_acknowledgement": Point(_SENDER, "IdempotentSender.advance", _is_ahead_of_its_checkpoint),
    "checkpoint_sent": Point(_CHECKPOINTS, "CheckpointWriter._produce", _is_a_checkpoint),
    "checkpoint_acknowledged": Point(_CHECKPOINTS, "CheckpointWriter._report", lambda given, _: given[-2] is None),
    "epoch_sent": Point(_CHECKPOINTS, "CheckpointWriter._produce", _begins_an_epoch),
    "epoch_acknowledged": Point(_ENTRY, "Entry.report", _is_an_acknowledged_epoch),
    "announcement_sent": Point(_CHECKPOINTS, "CheckpointWriter.announce"),
    "announcement_acknowledged": Point(_ENTRY, "Entry.report", _is_an_acknowledged_announcement),
    "during_restore": Point(_READER, "ShardReader._add", _is_of_somebody_else),
    "shard_assigned": Point("bridge.sharding.coordinator", "ShardCoordinator._assigned"),
    "claim_written": Point("bridge.sharding.claims", "ClaimWriter._report", lambda given, _: given[3] is None),
    "shard_restored": Point(_SHARDS, "Shard._restored"),
    "giving_up": Point(_SHARDS, "Shard.release"),
    "shard_given_up": Point(_SHARDS, "Shard.end"),
    "before_commit": Point(_TRANSACTIONS, "TransactionalProducer.commit", before=True),
    "after_commit": Point(_TRANSACTIONS, "TransactionalProducer.commit"),
}


def arm(name: str, passage: int, act: Callable[[], None], is_due: Callable[[], bool] = lambda: True) -> None:
    """Let ``act`` run at the n-th passage of a point, of those that are ``is_due``."""
    point = POINTS[name]
    owner, attribute, original = _find(name, point)
    passages = count(1)

    def pass_by(given: tuple[Any, ...], result: object) -> None:
        if is_due() and point.counts(given, result) and next(passages) == passage:
            act()

    @wraps(original)
    def watched(*given: Any, **named: Any) -> Any:
        if point.before:
            pass_by(given, None)
        result = original(*given, **named)
        if not point.before:
            pass_by(given, result)
        return result

    setattr(owner, attribute, watched)


def _find(name: str, point: Point) -> tuple[Any, str, Callable[..., Any]]:
    owner: Any = importlib.import_module(point.module)
    *way, attribute = point.path.split(".")
    for step in way:
        owner = getattr(owner, step, None)
    original = getattr(owner, attribute, None)
    if not callable(original):
        print(f"the point {name} is gone: no {point.path} in {point.module}", file=sys.stderr)
        raise SystemExit(_GONE)
    return owner, attribute, original


def turn_clock(offset: Path) -> None:
    """Put the wall clock ahead by what the file says (behind, if that is negative)."""
    seconds, nanoseconds = time.time, time.time_ns

    def ahead() -> float:
        return float(offset.read_text() or 0)

    time.time = lambda: seconds() + ahead()
    time.time_ns = lambda: nanoseconds() + int(ahead() * 10**9)


def main(arguments: Sequence[str]) -> None:
    """Arm what is asked for, then be ``mix-bridge``."""
    parser = argparse.ArgumentParser("dying_bridge")
    parser.add_argument("--point", choices=POINTS)
    parser.add_argument("--passage", type=int, default=1)
    parser.add_argument("--signal", default="KILL", choices=("KILL", "TERM", "STOP"))
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between the passage and the signal")
    parser.add_argument("--when", type=Path)
    parser.add_argument("--clock", type=Path)
    at = arguments.index("--")
    asked = parser.parse_args(arguments[:at])
    number = signal.Signals[f"SIG{asked.signal}"]

    def send() -> None:
        os.kill(os.getpid(), number)

    if asked.point:
        later = threading.Timer(asked.delay, send)
        later.daemon = True
        is_due = asked.when.exists if asked.when else lambda: True
        arm(asked.point, asked.passage, later.start if asked.delay else send, is_due)
    if asked.clock:
        turn_clock(asked.clock)
    from bridge.cli import main as mix_bridge  # noqa: PLC0415 - after everything is armed

    sys.argv = ["mix-bridge", *arguments[at + 1 :]]
    mix_bridge()


if __name__ == "__main__":
    main(sys.argv[1:])
