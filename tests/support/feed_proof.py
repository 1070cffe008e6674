"""Waits for the events of faulty feeds, counts them, and compares them with the server's events."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

from tests.fakes.faulty_feed import FaultyFeed, Sent
from tests.support.mix import Proof, prove
from tests.support.process import Bridge
from tests.support.rule import Followed
from tests.support.scene import status
from tests.support.waiting import wait_until


def wait_delivered(bridge: Bridge, feeds: Mapping[str, FaultyFeed], deadline: float = 60.0) -> None:
    """Return when every session is at the end of its stream and nothing is in flight."""

    def finished() -> dict[str, bool]:
        shown = {one["session"]: (one["last_event_id"], one["in_flight"]) for one in status(bridge)["sessions"]}
        return {name: shown.get(name) == (feed.last_id, 0) for name, feed in feeds.items()}

    try:
        wait_until(lambda: all(finished().values()), deadline, interval=0.05)
    except AssertionError as late:
        raise AssertionError(f"not all at their end: {finished()}, see {bridge.log}: {status(bridge)}") from late


def total(bridge: Bridge, name: str) -> float:
    """Return the sum of a counter over all servers."""
    lines = bridge.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"mix_bridge_{name}{{"))


def proven(kafka: str, namespace: str, feeds: Mapping[str, FaultyFeed], *, new_epochs: bool = False) -> Proof:
    """Compare Kafka with the events of these feeds: order, bytes, numbers, and the reason of each dead letter."""
    topics = [f"{namespace}.events", f"{namespace}.dead-letters"]
    proof = prove(kafka, topics, {name: feed.journal(name) for name, feed in feeds.items()}, new_epochs=new_epochs)
    for key, accepted in proof.follower.by_key().items():
        _check_reasons(feeds[key.removeprefix("local/")].expected(), accepted)
    return proof


def _check_reasons(expected: Sequence[Sent], accepted: Sequence[Followed]) -> None:
    by_event = {(str(one.name), one.data): one for one in expected}
    for one in accepted:
        name = one.event.removeprefix("mix.")
        sent = by_event[name, one.data]
        reason = one.record.header("bridge.reason")
        assert reason == sent.reason, f"{name} {one.data[:80]!r} is {reason}"
        if reason is not None:
            full = sent.data if sent.full is None else sent.full
            measured = one.record.header("bridge.bytes"), one.record.header("bridge.sha256")
            assert measured == _measured(full), f"{name} {one.data[:80]!r}: {measured}"


@lru_cache(maxsize=8)
def _measured(full: bytes) -> tuple[str, str]:
    return str(len(full)), hashlib.sha256(full).hexdigest()
