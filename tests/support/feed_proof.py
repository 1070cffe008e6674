"""What came of the streams of feeds that fail: waited for, counted, and compared with what the server meant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

from bridge.clock import monotonic
from tests.fakes.faulty_feed import FaultyFeed, Sent
from tests.support.mix import Proof, prove
from tests.support.process import Bridge
from tests.support.rule import Followed
from tests.support.scene import status
from tests.support.waiting import wait_until


def wait_delivered(bridge: Bridge, feeds: Mapping[str, FaultyFeed], deadline: float = 60.0) -> None:
    """Return once every session is at the end of its stream and nothing is under way."""

    def sound() -> dict[str, bool]:
        told = {one["session"]: (one["last_event_id"], one["in_flight"]) for one in status(bridge)["sessions"]}
        return {name: told.get(name) == (feed.last_id, 0) for name, feed in feeds.items()}

    try:
        wait_until(lambda: all(sound().values()), deadline, interval=0.05)
    except AssertionError as late:
        raise AssertionError(f"not all at their end: {sound()}, see {bridge.log}: {status(bridge)}") from late


def let_pass(seconds: float) -> None:
    """Return after so long: for what must not happen, or happen seldom, meanwhile."""
    end = monotonic() + seconds
    wait_until(lambda: monotonic() >= end, 2 * seconds + 1)


def total(bridge: Bridge, name: str) -> float:
    """One counter of all servers."""
    lines = bridge.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"mix_bridge_{name}{{"))


def proven(kafka: str, namespace: str, feeds: Mapping[str, FaultyFeed], *, new_epochs: bool = False) -> Proof:
    """Compare Kafka with what these sessions' streams meant: order, bytes, numbers, and each dead letter's reason."""
    topics = [f"{namespace}.events", f"{namespace}.dead-letters"]
    proof = prove(kafka, topics, {name: feed.journal(name) for name, feed in feeds.items()}, new_epochs=new_epochs)
    for key, accepted in proof.follower.by_key().items():
        _reasons(feeds[key.removeprefix("local/")].meant(), accepted)
    return proof


def _reasons(meant: Sequence[Sent], accepted: Sequence[Followed]) -> None:
    expected = {(str(one.name), one.data): one for one in meant}
    for one in accepted:
        name = one.event.removeprefix("mix.")
        sent = expected[name, one.data]
        reason = one.record.header("bridge.reason")
        assert reason == sent.reason, f"{name} {one.data[:80]!r} is {reason}"
        if reason is not None:
            full = sent.data if sent.full is None else sent.full
            told = one.record.header("bridge.bytes"), one.record.header("bridge.sha256")
            assert told == _measured(full), f"{name} {one.data[:80]!r}: {told}"


@lru_cache(maxsize=8)
def _measured(full: bytes) -> tuple[str, str]:
    return str(len(full)), hashlib.sha256(full).hexdigest()
