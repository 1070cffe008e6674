"""The lines of librdkafka: their level, and which client they are about."""

from __future__ import annotations

import io
import json

from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from bridge.observe.log_writer import flush_logs
from bridge.observe.logs import configure
from tests.support.log_setup import restored_logging
from tests.support.waiting import wait_until


def test_a_line_of_a_client_has_its_level_and_role() -> None:
    """The producer of events cannot reach its broker: several kinds of clients would have the same text."""
    out = io.StringIO()
    with restored_logging():
        configure("info", "json", stream=out)
        settings = ProducerSettings({"bootstrap.servers": "127.0.0.1:1"}, 1000)
        producer = IdempotentProducer(settings, Role.EVENTS)

        def logged() -> list[dict[str, object]]:
            producer.poll(0.05)
            flush_logs()
            lines = [json.loads(line) for line in out.getvalue().splitlines()]
            return [line for line in lines if line["logger"] == "bridge.kafka.librdkafka"]

        line = wait_until(logged)[0]
        producer.abandon()
    assert line["client"] == "events"
    assert line["level"] in {"warning", "error"}
    assert "127.0.0.1:1" in str(line["event"])
    assert list(line)[:5] == ["timestamp", "level", "event", "logger", "client"]
