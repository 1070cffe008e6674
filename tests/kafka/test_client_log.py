"""Lines that the Kafka client repeats are logged twice a minute."""

from __future__ import annotations

import logging

from bridge.kafka.config import RepeatFilter


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("kafka", logging.ERROR, "", 0, text, None, None)


def test_a_line_is_logged_again_after_30_seconds() -> None:
    now = 100.0
    repeats = RepeatFilter(lambda: now)
    away = "FAIL [rdkafka#consumer-1] 127.0.0.1:9092/bootstrap: Connect failed: refused (after {}ms in state CONNECT)"
    assert repeats.filter(line(away.format(0)))
    now = 129.9
    assert not repeats.filter(line(away.format(17)))
    now = 130.0
    assert repeats.filter(line(away.format(3)))


def test_lines_about_other_brokers_and_clients_are_other_lines() -> None:
    repeats = RepeatFilter(lambda: 0.0)
    texts = [f"FAIL [rdkafka#consumer-{client}] 127.0.0.1:{port}/{broker}: refused (after 0ms in state CONNECT)"
             for client in (1, 2) for port in (9092, 9093) for broker in (1, 2)]  # fmt: skip
    assert all(repeats.filter(line(text)) for text in texts)
    assert not any(repeats.filter(line(text)) for text in texts)


def test_the_memory_of_logged_lines_is_limited() -> None:
    repeats = RepeatFilter(lambda: 0.0)
    for number in range(2000):
        assert repeats.filter(line(f"topic t{number}x"))
    assert len(repeats._logged_at) <= 500
