"""The topics of one namespace on a real Kafka, and events for tests of delivery in this process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from bridge.admin.checkpoints.topic import read_log
from bridge.clock import unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.rules import Format, Route, Rules
from bridge.core.records.topics import SizeLimits
from bridge.core.stream.event import Event
from tests.support.topics import Read, create_topic, read_topic

SHARDS = 2
QUICK = {
    "reconnect.backoff.max.ms": 200,
    "retry.backoff.ms": 50,
    "log_level": 0,
    "allow.auto.create.topics": False,
}
"""Settings of Kafka's client for short retries; no client creates a deleted topic again, as in the bridge."""


class DeliveryTopics:
    """Topics as the bridge creates them; events of tools are routed to a topic of their own."""

    def __init__(
        self,
        bootstrap: str,
        namespace: str,
        *,
        form: Format = "structured",
        partitions: int = 1,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        """``partitions``: of the routed topic. ``limits``: ``max.message.bytes`` of ``events`` and ``tools``."""
        self.bootstrap = bootstrap
        self.namespace = namespace
        self.events, self.tools = f"{namespace}.events", f"{namespace}.tools"
        self.dead_letters, self.checkpoints = f"{namespace}.dead-letters", f"{namespace}.checkpoints"
        self.lifecycle = f"{namespace}.lifecycle"
        self.topics = [self.events, self.tools, self.dead_letters, self.lifecycle]
        configs = {f"{namespace}.{name}": {"max.message.bytes": str(size)} for name, size in (limits or {}).items()}
        for topic in self.topics:
            create_topic(bootstrap, topic, partitions if topic == self.tools else 1, configs.get(topic))
        create_topic(bootstrap, self.checkpoints, SHARDS, {"cleanup.policy": "compact"})
        self.sizes = SizeLimits()
        self.rules = Rules(
            format=form,
            type_prefix="mix.",
            skip=frozenset({"skipped"}),
            unknown="publish",
            invalid="dead_letter",
            max_bytes=900_000,
            events_topic=self.events,
            dead_letters_topic=self.dead_letters,
            routes=(Route("tool_*", self.tools),),
        )

    def restored(self) -> Mapping[SessionKey, Checkpoint]:
        """Return the stored checkpoints."""
        return read_log({"bootstrap.servers": self.bootstrap, "log_level": 0}, self.checkpoints, SHARDS).checkpoints

    def read(self, *topics: str) -> list[Read]:
        """Return the committed records of these topics (default: all), per partition in order."""
        return [record for topic in topics or self.topics for record in read_topic(self.bootstrap, topic)]


def data(at: int, size: int = 0) -> str:
    """Return the data of event ``at``, with ``size`` bytes of padding."""
    return f'{{"at":{at},"pad":"{"x" * size}"}}'


def events(ats: Iterable[int], *, name: str = "agent", size: int = 100) -> list[Event]:
    """Return the events of a stream with these numbers."""
    now = unix_ms()  # a broker that starts removes producers whose records are older than a day
    return [Event(name, data(at, size), str(at), str(at), now) for at in ats]


def at_of(text: bytes) -> int:
    """Return the number of the event; works with the beginning of a cut dead letter too."""
    found = re.match(rb'{"at":(\d+),', text)
    assert found is not None, text
    return int(found[1])
