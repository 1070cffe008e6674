"""Repeated log lines: one per event, server, reason and interval, with a count."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from structlog.stdlib import get_logger

from bridge.observe.log_writer import flush_logs
from bridge.observe.logs import configure
from bridge.observe.repeats import INTERVAL, MOST_KINDS, RepeatLimiter
from tests.support.log_setup import restored_logging
from tests.support.waiting import wait_until

log = get_logger("bridge.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    with restored_logging():
        yield


def line(event: str, **keys: object) -> logging.LogRecord:
    return logging.LogRecord("bridge.test", logging.WARNING, "", 0, {"event": event, **keys}, None, None)


def text(message: str) -> logging.LogRecord:
    return logging.LogRecord("bridge.kafka.librdkafka", logging.ERROR, "", 0, message, None, None)


def test_each_server_and_reason_has_one_line_per_interval_with_the_number_of_the_others() -> None:
    """The first one comes at once, in full."""
    repeats = RepeatLimiter()
    lines = [
        line("disconnected", server=server, session=f"s{at}", reason=reason)
        for at in range(1000)
        for server in ("one", "two")
        for reason in ("refused", "timeout")
    ]
    admitted = [each for each in lines for _ in range(3) if repeats.admits(each, 100.0)]
    assert admitted == lines[:4]
    assert repeats.due(100 + INTERVAL - 0.1) == []
    summaries = repeats.due(100 + INTERVAL)
    assert [
        (each.msg["server"], each.msg["reason"], each.msg["repeats"], each.msg["sessions"])  # type: ignore[index]
        for each in summaries
    ] == [(server, reason, 2999, 1000) for server in ("one", "two") for reason in ("refused", "timeout")]
    assert not repeats.admits(lines[0], 100 + INTERVAL), "a summary begins the next interval"
    assert len(repeats.due(100 + 2 * INTERVAL)) == 1
    assert repeats.due(100 + 3 * INTERVAL) == []
    assert repeats.next_at is None
    assert repeats.admits(lines[0], 200 + 3 * INTERVAL)


def test_other_lines_are_not_limited_unless_they_ask_for_it() -> None:
    repeats = RepeatLimiter()
    assert all(repeats.admits(line("shard acquired", shard=at), 0.0) for at in range(8))
    chosen = [line("retrying", shard=at, limited=True) for at in range(8)]
    assert [repeats.admits(each, 0.0) for each in chosen] == [True] + [False] * 7
    assert all("limited" not in each.msg for each in chosen)


def test_each_type_of_error_is_written() -> None:
    """A bug in one session must not hide another bug."""
    repeats = RepeatLimiter()

    def failed(error: Exception) -> bool:
        try:
            raise error  # noqa: TRY301 - the caller's handler is what is tested
        except Exception:  # noqa: BLE001 - the error of the line
            return repeats.admits(line("a bug", server="one", session="a", exc_info=True), 0.0)

    assert [failed(each) for each in (ValueError(), KeyError(), ValueError(), KeyError())] == [True, True, False, False]
    assert [each.msg["exc_info"][0] for each in repeats.due(INTERVAL)] == [ValueError, KeyError]  # type: ignore[index]
    assert sys.exc_info() == (None, None, None)


AWAY = "FAIL [rdkafka#consumer-{}] 127.0.0.1:{}/{}: Connect failed: refused (after {}ms in state CONNECT)"


def test_lines_of_the_kafka_client_are_the_same_for_all_clients_and_durations() -> None:
    """But not for all brokers. A client whose only known broker is away logs each attempt, twenty times a second."""
    repeats = RepeatLimiter()
    texts = [
        AWAY.format(client, port, broker, took)
        for client in (1, 2)
        for took in (0, 17)
        for port in (9092, 9093)
        for broker in (1, 2)
    ]
    assert [repeats.admits(text(each), 0.0) for each in texts] == [True] * 4 + [False] * 12
    assert [each.getMessage().rpartition(" (")[2] for each in repeats.due(INTERVAL)] == ["such lines: 3)"] * 4


def test_the_number_of_kinds_is_limited() -> None:
    """A reason that an outsider chooses must not fill the memory."""
    repeats = RepeatLimiter()
    admitted = sum(
        repeats.admits(line("x", server="a", session="b", reason=str(at)), 0.0) for at in range(5 * MOST_KINDS)
    )
    assert admitted == MOST_KINDS + 1
    assert len(repeats._kinds) == MOST_KINDS + 1


def parsed(out: io.StringIO) -> list[dict[str, object]]:
    flush_logs()
    return [json.loads(each) for each in out.getvalue().splitlines()]


def test_the_writer_adds_the_counts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the interval, although nothing else is logged."""
    monkeypatch.setattr("bridge.observe.repeats.INTERVAL", 0.2)
    out = io.StringIO()
    configure("info", "json", stream=out)
    for at in range(100):
        log.warning("disconnected", server="local", session=str(at), reason="refused")
    wait_until(lambda: "repeats" in out.getvalue(), what="the counts")
    first, last = parsed(out)
    assert "repeats" not in first
    assert (last["session"], last["repeats"], last["sessions"]) == ("99", 99, 99)


def test_the_counts_are_written_before_the_process_ends() -> None:
    out = io.StringIO()
    configure("info", "json", stream=out)
    for at in range(3):
        log.warning("disconnected", server="local", session=str(at), reason="refused")
    assert [line.get("repeats") for line in parsed(out)] == [None, 2]


def test_at_level_debug_every_line_is_written() -> None:
    out = io.StringIO()
    configure("debug", "json", stream=out)
    for at in range(100):
        log.warning("disconnected", server="local", session=str(at), reason="refused")
    assert len(parsed(out)) == 100
