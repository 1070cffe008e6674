"""Random streams of sessions for the models of delivery, and how a consumer reads their records."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from bridge.core.identity import SessionKey
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.records.rules import Route, Rules
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery import (
    at_least_once,
    checkpoint_writer,
    handover,
    idempotent_sender,
    producers,
    publisher,
    refusals,
    session,
)
from bridge.delivery.publisher import SessionPublisher
from tests.fakes.kafka_model import Produced
from tests.support.topics import Read

EVENTS, TOOLS, DEAD, CHECKPOINTS, LIFECYCLE = "m.events", "m.tools", "m.dead-letters", "m.checkpoints", "m.lifecycle"
PARTITIONS = {EVENTS: 2, TOOLS: 3, DEAD: 1, CHECKPOINTS: 2, LIFECYCLE: 2}
ENDED = LifecycleEvent("ended", "gone", "it is gone")
GAP = LifecycleEvent("gap", "forgotten", "something is missing")
RESUMED = LifecycleEvent("resumed", "replay_proved", "it continues")
RULES = Rules(
    schema={"agent": lambda data: "invalid" if '"invalid"' in data else None},
    format="raw",
    type_prefix="mix.",
    skip=frozenset({"skipped"}),
    unknown="publish",
    invalid="dead_letter",
    max_bytes=10**6,
    events_topic=EVENTS,
    dead_letters_topic=DEAD,
    routes=(Route("tool_*", TOOLS),),
)
LARGE = 3000
"""Bytes of data of an event that is too large for a lowered limit; the others have under 100."""


class Block(NamedTuple):
    """One block of a session's stream; its id is its position in it, from 1."""

    name: str
    data: str

    @property
    def is_published(self) -> bool:
        return self.name not in ("", "skipped")

    def event(self, at: int) -> Event:
        return Event(self.name, self.data, str(at), str(at), 1_700_000_000_000)


def random_stream(chance: random.Random, length: int, *, invalid: int = 0) -> list[Block]:
    """Return up to ``length`` blocks, some of them without an event, skipped, routed, large or ``invalid``."""

    def block(at: int) -> Block:
        kind = chance.choices(("agent", "tool_call", "skipped", "", "large", "invalid"), (10, 6, 2, 1, 1, invalid))[0]
        name = "agent" if kind in {"large", "invalid"} else kind
        return Block(name, json.dumps({"at": at, "pad": "x" * (LARGE if kind == "large" else 0), kind: True}))

    return [block(at) for at in range(1, chance.randint(1, length) + 1)]


class Clock:
    """A monotonic and a wall clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def unix_ms(self) -> int:
        return 1_700_000_000_000 + int(self.now * 1000)


@contextmanager
def patched_clock(clock: Clock) -> Iterator[None]:
    """Let at-least-once delivery use this clock, and capture its log."""
    with capture_logs(), pytest.MonkeyPatch.context() as patch:
        for module in (idempotent_sender, handover):
            patch.setattr(module, "monotonic", clock.monotonic)
            patch.setattr(module, "unix_ms", clock.unix_ms)
        patch.setattr(publisher, "_FAST_PATH_WAIT", 0.0)  # the test has one thread: no other one frees the fast path
        patch.setattr(publisher, "unix_ms", clock.unix_ms)
        patch.setattr(session, "unix_ms", clock.unix_ms)
        for module in (at_least_once, checkpoint_writer, producers, refusals):
            patch.setattr(module, "monotonic", clock.monotonic)
        yield


@dataclass
class Reader:
    """A session's worker without its connection: submits the stream from the position on."""

    key: SessionKey
    stream: list[Block]
    publisher: SessionPublisher
    at: int
    ends: bool
    ended: bool = False

    @property
    def is_done(self) -> bool:
        return self.at >= len(self.stream) and (self.ended or not self.ends)

    def step(self, most: int) -> None:
        """Submit the next blocks, or end the session."""
        if self.at < len(self.stream):
            blocks = list(enumerate(self.stream, 1))[self.at : self.at + most]
            self.at += len(blocks)
            self.publisher.submit([block.event(at) for at, block in blocks])
        elif self.ends and not self.ended:
            self.publisher.end(ENDED)
            self.ended = True

    def begin_epoch(self, at: int) -> None:
        """Begin an epoch, here or at an earlier event."""
        self.at = at
        self.publisher.begin_epoch(OverlapWindow.starting(str(at)), None if at % 2 else GAP)


def at_of(data: bytes) -> int:
    """Return the number of the event; works with the beginning of a cut dead letter too."""
    found = re.match(rb'{"at": (\d+),', data)
    assert found is not None, data
    return int(found[1])


def as_read(record: Produced, offset: int) -> Read:
    """Return a record as a consumer reads it."""
    return Read(*record.place, offset, record.key, record.value, record.headers, 0)


@contextmanager
def switching_often() -> Iterator[None]:
    """Let Python switch threads every microsecond."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
