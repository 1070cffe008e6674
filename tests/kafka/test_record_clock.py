"""Which timestamp a record carries while Kafka refuses the time of this machine."""

from __future__ import annotations

from bridge.clock import unix_ms
from bridge.kafka.record_clock import NO_TIMESTAMP, RecordClock

HOUR = 3_600_000
BY_BROKER, BY_WRITER = 2, 1


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_our_own_time_is_used_until_kafka_refuses_it_and_tried_again_later() -> None:
    """Each refusal costs a producer: not for every batch."""
    clock = Clock()
    records = RecordClock(clock)
    assert records.of(5) == 5
    records.refused()
    assert records.of(5) == NO_TIMESTAMP
    clock.now += 3600
    assert records.of(5) == 5


def test_the_brokers_time_replaces_ours_where_it_is_known() -> None:
    """A record that a broker stamped shows the difference; one with its writer's time does not."""
    records = RecordClock()
    now = unix_ms()
    records.compare((BY_WRITER, now - 9 * HOUR), now)
    assert records.ahead is None
    records.compare((BY_BROKER, now - 2 * HOUR), now)
    records.refused()
    assert records.of(now) == now - 2 * HOUR
    records.compare((BY_BROKER, now), now)
    assert records.ahead == 0


def test_the_function_of_the_client_is_unchanged_while_nothing_is_refused() -> None:
    """The hot path pays nothing."""
    given: list[tuple[object, ...]] = []
    records = RecordClock()

    def produce(*fields: object) -> None:
        given.append(fields)

    assert records.producing(produce) is produce
    records.refused()
    records.producing(produce)("topic", b"value", b"key", -1, None, None, 7, [])
    assert given == [("topic", b"value", b"key", -1, None, None, NO_TIMESTAMP, [])]
