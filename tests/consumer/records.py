"""Records made by the bridge's own encoder, for the tests of the consumer library."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from confluent_kafka import Producer

from bridge.admin.dead_letters.replay import marked
from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.records.lifecycle import LifecycleEvent, LifecycleWriter
from bridge.core.records.record import Record
from bridge.core.stream.event import Event
from tests.fakes.rules import RULES as DEFAULT_RULES
from tests.support.waiting import TIMEOUT

NOW = 1_767_225_612_345
RULES = replace(DEFAULT_RULES, max_bytes=100_000)


def record(  # noqa: PLR0913 - each with a default
    number: int = 6,
    data: str | None = None,
    *,
    name: str = "content",
    epoch: int = 5,
    session: str = "a/b",
    format_: Any = "structured",
    replayed: bool = False,
    own_id: str | None = "7",
) -> Record:
    text = json.dumps({"type": name, "content": str(number)}) if data is None else data
    rules = replace(RULES, format=format_)
    encoder = Encoder(rules, SessionKey("demo", session))
    made = encoder.encode(Event(name, text, own_id, own_id or "6", NOW, None), epoch, number)
    assert made is not None
    return marked(made, rules) if replayed else made


def lifecycle(number: int = 6, at: int = NOW) -> Record:
    gap = LifecycleEvent("gap", "jump", "ids jump", "41", "50", 8)
    return LifecycleWriter(SessionKey("demo", "a/b"), "mix.lifecycle").record(gap, 5, number, at, None)


def send(brokers: str, topic: str, *records: Record | bytes, partition: int = 0) -> None:
    """Write records; bytes are the value of a foreign one."""
    producer = Producer({"bootstrap.servers": brokers})
    for each in records:
        if isinstance(each, bytes):
            producer.produce(topic, each, partition=partition)
        else:
            producer.produce(
                topic, each.value, each.key, partition, timestamp=each.timestamp_ms, headers=dict(each.headers)
            )
    assert producer.flush(TIMEOUT) == 0
