"""What integration tests share: settings for a bridge process, its status, and the records that it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from tests.support.process import Bridge
from tests.support.rule import Followed, follow
from tests.support.topics import Read, read_topic
from tests.support.waiting import TIMEOUT, wait_until


def settings(kafka: str, namespace: str, url: str, more: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return settings with one server, and with short intervals."""
    return {
        "namespace": namespace,
        "instance": "bridge",  # a restart after a kill need not wait for the group's session timeout
        "kafka.bootstrap_servers": kafka,
        "servers.local.url": url,
        "servers.local.discover_interval": "200ms",
        "servers.local.reconnect_min": "50ms",
        "servers.local.reconnect_max": "200ms",
        "delivery.checkpoint_interval": "100ms",
        "topics.partitions": 2,
        "topics.shards": 2,
        **(more or {}),
    }


def started(folder: Path, chosen: Mapping[str, object]) -> Bridge:
    """Start a bridge."""
    return Bridge(folder / "bridge", chosen).start()


@contextmanager
def bridged(folder: Path, chosen: Mapping[str, object]) -> Iterator[Bridge]:
    """Run a bridge; at the end it must shut down gracefully."""
    with started(folder, chosen) as bridge:
        yield bridge
        assert bridge.terminate() == 0


def status(bridge: Bridge) -> dict[str, Any]:
    """Return ``/api/status``."""
    answer: dict[str, Any] = bridge.get("/api/status").json()
    return answer


def session(bridge: Bridge, session_id: str, server: str = "local") -> dict[str, Any]:
    """Return one session of the status; empty when it is missing."""
    found = [one for one in status(bridge)["sessions"] if (one["server"], one["session"]) == (server, session_id)]
    return found[0] if found else {}


def wait_acknowledged(bridge: Bridge, session_id: str, sequence: int, server: str = "local") -> None:
    """Return once this number of records of a session is acknowledged."""
    wait_until(
        lambda: session(bridge, session_id, server).get("acknowledged_sequence", 0) >= sequence,
        20,
        f"{sequence} records of {session_id}, see {bridge.log}: {session(bridge, session_id, server)}",
        0.05,
    )


def wait_logged(bridge: Bridge, *words: str, deadline: float = 20.0) -> dict[str, Any]:
    """Wait for a log line with all these words and return the first."""

    def line() -> dict[str, Any] | None:
        lines = (each for each in bridge.log_lines() if all(word in json.dumps(each) for word in words))
        return next(lines, None)

    found = wait_until(line, deadline, f"a log line with {words}, see {bridge.log}", 0.05)
    assert found is not None
    return found


def events(kafka: str, namespace: str, topic: str = "events") -> list[Read]:
    """Return all records of one of the namespace's topics."""
    return read_topic(kafka, f"{namespace}.{topic}")


def texts(kafka: str, namespace: str, session_id: str, server: str = "local") -> list[str]:
    """Return the texts of a session's ``content`` events, as a consumer that follows the rule sees them."""
    found = accepted(kafka, namespace, session_id, server)
    return [json.loads(one.data)["content"] for one in found if one.event.removeprefix("mix.") == "content"]


def accepted(kafka: str, namespace: str, session_id: str, server: str = "local") -> list[Followed]:
    """Return the event records of a session, as a consumer that follows the rule sees them."""
    return follow(events(kafka, namespace)).by_key().get(f"{server}/{session_id}", [])


def wait_accepted(kafka: str, namespace: str, session_id: str, count: int) -> None:
    """Return once a consumer sees this many events: an acknowledged number may be one of an older epoch."""
    wait_until(lambda: len(accepted(kafka, namespace, session_id)) >= count, 20, f"{count} events of {session_id}", 0.1)


def checkpoints(kafka: str, namespace: str) -> dict[str, list[dict[str, Any]]]:
    """Return every checkpoint record per key, in order; a tombstone is an empty one."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in events(kafka, namespace, "checkpoints"):
        value = {} if record.value is None else json.loads(record.value)
        found.setdefault((record.key or b"").decode(), []).append(value)
    return found


def last_checkpoint(kafka: str, namespace: str, session_id: str, server: str = "local") -> dict[str, Any]:
    """Return the newest checkpoint of a session; empty when there is none."""
    written = checkpoints(kafka, namespace).get(f"{server}/{session_id}", [])
    return written[-1] if written else {}


def wait_checkpoint(kafka: str, namespace: str, session_id: str, is_it: Callable[[dict[str, Any]], bool]) -> Any:
    """Wait until the newest checkpoint of a session satisfies ``is_it``, and return it."""

    def newest() -> dict[str, Any] | None:
        checkpoint = last_checkpoint(kafka, namespace, session_id)
        return checkpoint if checkpoint and is_it(checkpoint) else None

    return wait_until(newest, 20, f"such a checkpoint of {session_id}", 0.1)


def write(  # noqa: PLR0913, PLR0917 - the parts of a record
    kafka: str,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    partition: int = 0,
    headers: dict[str, str | bytes | None] | None = None,
) -> int:
    """Write one record as a foreign writer would; return its offset."""
    offsets: list[int] = []

    def report(error: object, message: Any) -> None:
        assert error is None, error
        offsets.append(message.offset())

    producer = Producer({"bootstrap.servers": kafka, "log_level": 2, "allow.auto.create.topics": False})
    producer.produce(topic, value, key, partition=partition, headers=headers, on_delivery=report)
    assert producer.flush(TIMEOUT) == 0
    return offsets[0]
