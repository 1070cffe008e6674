"""``mix-bridge`` that sends itself a signal at a kill point: ``--point after_read --occurrence 7 -- run ...``.

A kill from outside rarely hits a moment that lasts a millisecond. Here the functions at such moments are wrapped, and
the process sends itself the signal at the n-th occurrence. The bridge itself contains nothing of this: when a wrapped
function does not exist any more, the start fails with exit code 3 and names it. ``--when FILE``: occurrences count
once that file exists.

``--clock FILE`` shifts the wall clock by the number of seconds in a file, which is read at each call.
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
    """The end of a call inside the bridge, or its beginning. ``counts`` decides which calls are occurrences."""

    module: str
    path: str
    counts: Counts = lambda _given, _result: True
    before: bool = False


def _is_in_flight(given: tuple[Any, ...], _result: Any) -> bool:
    return bool(given[0].session.pending)


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


def _is_from_another_owner(given: tuple[Any, ...], _result: Any) -> bool:
    """A record from before this process claimed the shard."""
    return not given[2].key.startswith(b"#")


def _position(given: tuple[Any, ...]) -> Any:
    """Return the position among a call's arguments, or that of the checkpoint or barrier among them."""
    for each in given[1:]:
        found = getattr(each, "position", each)
        if hasattr(found, "sequence"):
            return found
    raise SystemExit(f"no position among {given[1:]}")


_PUBLISHER, _SENDER, _CHECKPOINTS = (
    f"bridge.delivery.{name}" for name in ("publisher", "idempotent_sender", "checkpoint_writer")
)
_ENTRY = "bridge.core.entries"
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
    "during_restore": Point(_READER, "ShardReader._add", _is_from_another_owner),
    "shard_assigned": Point("bridge.sharding.coordinator", "ShardCoordinator._assigned"),
    "claim_written": Point("bridge.sharding.claims", "ClaimWriter._report", lambda given, _: given[3] is None),
    "shard_restored": Point(_SHARDS, "Shard._restored"),
    "releasing": Point(_SHARDS, "Shard.release"),
    "shard_released": Point(_SHARDS, "Shard.end"),
    "before_commit": Point(_TRANSACTIONS, "TransactionalProducer.commit", before=True),
    "after_commit": Point(_TRANSACTIONS, "TransactionalProducer.commit"),
}


def arm(name: str, occurrence: int, act: Callable[[], None], is_due: Callable[[], bool] = lambda: True) -> None:
    """Run ``act`` at the n-th occurrence of a point, counting only those at which ``is_due()``."""
    point = POINTS[name]
    owner, attribute, original = _find(name, point)
    occurrences = count(1)

    def notice(given: tuple[Any, ...], result: object) -> None:
        if is_due() and point.counts(given, result) and next(occurrences) == occurrence:
            act()

    @wraps(original)
    def watched(*given: Any, **named: Any) -> Any:
        if point.before:
            notice(given, None)
        result = original(*given, **named)
        if not point.before:
            notice(given, result)
        return result

    setattr(owner, attribute, watched)


def _find(name: str, point: Point) -> tuple[Any, str, Callable[..., Any]]:
    owner: Any = importlib.import_module(point.module)
    *owners, attribute = point.path.split(".")
    for step in owners:
        owner = getattr(owner, step, None)
    original = getattr(owner, attribute, None)
    if not callable(original):
        print(f"the point {name} does not exist: no {point.path} in {point.module}", file=sys.stderr)
        raise SystemExit(_GONE)
    return owner, attribute, original


def turn_clock(offset: Path) -> None:
    """Set the wall clock ahead by the seconds in the file (back, if they are negative)."""
    seconds, nanoseconds = time.time, time.time_ns

    def ahead() -> float:
        return float(offset.read_text() or 0)

    time.time = lambda: seconds() + ahead()
    time.time_ns = lambda: nanoseconds() + int(ahead() * 10**9)


def main(arguments: Sequence[str]) -> None:
    """Wrap the chosen function, then run ``mix-bridge``."""
    parser = argparse.ArgumentParser("dying_bridge")
    parser.add_argument("--point", choices=POINTS)
    parser.add_argument("--occurrence", type=int, default=1)
    parser.add_argument("--signal", default="KILL", choices=("KILL", "TERM", "STOP"))
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between the occurrence and the signal")
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
        arm(asked.point, asked.occurrence, later.start if asked.delay else send, is_due)
    if asked.clock:
        turn_clock(asked.clock)
    from bridge.cli import main as mix_bridge  # noqa: PLC0415 - after the functions are wrapped

    sys.argv = ["mix-bridge", *arguments[at + 1 :]]
    mix_bridge()


if __name__ == "__main__":
    main(sys.argv[1:])
