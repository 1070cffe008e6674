"""The loop over events: what it yields, and when it saves and commits; on an embedded Kafka."""

from __future__ import annotations

import logging
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from bridge.consumer import CONFIG, Event, Events, FileStore, MemoryStore, Place
from bridge.demo.embedded_kafka import EmbeddedKafka
from tests.consumer.records import NOW, lifecycle, record, send
from tests.support.repository import REPOSITORY
from tests.support.waiting import TIMEOUT, wait_until


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    with EmbeddedKafka() as kafka:
        yield kafka.bootstrap_servers


@pytest.fixture
def topic(brokers: str) -> str:
    name = f"t{uuid.uuid4().hex}"
    Producer({"bootstrap.servers": brokers}).list_topics(name, timeout=TIMEOUT)
    return name


def client(brokers: str, **more: object) -> Consumer:
    """A consumer as docs/consuming.md recommends it, with short intervals."""
    config = {
        "bootstrap.servers": brokers,
        "group.id": uuid.uuid4().hex,
        **CONFIG,
        "fetch.wait.max.ms": 10,
        "heartbeat.interval.ms": 100,
        **more,
    }
    return Consumer({name: value for name, value in config.items() if value is not None})


@pytest.fixture
def consumer(brokers: str, topic: str) -> Iterator[Consumer]:
    made = client(brokers)
    made.assign([TopicPartition(topic, 0, 0)])
    yield made
    made.close()


def first(events: Iterable[Event], count: int) -> list[Event]:
    """So many events; the loop then asks for the next one, and ends by a break when it comes."""
    found: list[Event] = []
    for event in events:
        if len(found) == count:
            break
        found.append(event)
    return found


def numbers(events: Iterable[Event]) -> list[tuple[int, int]]:
    return [(event.epoch, event.number) for event in events]


def rest(consumer: Consumer, **options: object) -> list[Event]:
    return list(Events(consumer, idle_timeout=0.5, **options))  # type: ignore[arg-type]


def test_each_event_comes_once_in_its_order(brokers: str, topic: str, consumer: Consumer) -> None:
    """Repeats after a crash are dropped, a new epoch is above the old one, foreign records are skipped and counted."""
    ours = [record(number) for number in (1, 2, 3, 2, 3, 4)]
    foreign = [b"{}", b"\xff"]
    later = [record(1, epoch=6), record(5), record(2, epoch=6, format_="binary"), record(3, epoch=6, format_="raw")]
    send(brokers, topic, *ours, *foreign, *later)
    events = Events(consumer, idle_timeout=0.5)
    assert numbers(events) == [(5, 1), (5, 2), (5, 3), (5, 4), (6, 1), (6, 2), (6, 3)]
    assert (events.repeats, events.foreign) == (3, 2)


def test_the_first_foreign_record_is_logged(
    brokers: str, topic: str, consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong topic must not look like an empty one."""
    send(brokers, topic, b"{}", b"{}")
    with caplog.at_level(logging.WARNING, "bridge.consumer"):
        assert rest(consumer) == []
    (line,) = [each.getMessage() for each in caplog.records]
    assert line == f"{topic} partition 0 offset 0 is skipped: it has no key (others will only be counted)"


def test_replayed_dead_letters_come_once_and_hide_nothing(brokers: str, topic: str, consumer: Consumer) -> None:
    """They have old numbers, and differ by their ids."""
    sent = [(5, False), (2, True), (2, True), (9, True), (6, False), (2, False)]
    send(brokers, topic, *(record(number, replayed=replayed) for number, replayed in sent))
    assert [(event.number, event.replayed) for event in rest(consumer)] == [
        (5, False),
        (2, True),
        (9, True),
        (6, False),
    ]


def test_lifecycle_records_all_come(brokers: str, topic: str, consumer: Consumer) -> None:
    send(brokers, topic, lifecycle(6), lifecycle(6, NOW + 1), lifecycle(6, NOW + 1), lifecycle(5))
    assert [event.number for event in rest(consumer)] == [6, 6, 5]


def test_partitions_and_sessions_are_judged_apart(brokers: str, topic: str) -> None:
    """And so are routed topics: each has its own numbers of a session, all in one rising line."""
    routed = f"{topic}r"
    send(brokers, topic, record(2), record(1, session="c"))
    send(brokers, topic, record(1), partition=1)
    send(brokers, routed, record(3), record(3), record(1))
    consumer = client(brokers)
    consumer.assign([TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0), TopicPartition(routed, 0, 0)])
    found = sorted((event.topic, event.partition, event.session, event.number) for event in rest(consumer))
    assert found == [
        (topic, 0, "a/b", 2),
        (topic, 0, "c", 1),
        (topic, 1, "a/b", 1),
        (routed, 0, "a/b", 3),
    ]
    consumer.close()


class Journal:
    """A store of a user's own that notes when it is called."""

    def __init__(self, committed: Callable[[], int]) -> None:
        self.calls: list[tuple[list[str], int]] = []
        """What was saved, and the committed offset at that moment."""
        self.results: list[str] = []
        self._committed = committed
        self._inner = MemoryStore()

    def load(self, topic: str, partition: int) -> Mapping[Place, str]:
        return self._inner.load(topic, partition)

    def save(self, highest: Mapping[Place, str]) -> None:
        assert set(highest.values()) <= set(self.results)
        self.calls.append((list(highest.values()), self._committed()))
        self._inner.save(highest)


def committed(consumer: Consumer, topic: str) -> int:
    """The committed offset of the first partition; -1001 without one."""
    return consumer.committed([TopicPartition(topic, 0)], timeout=TIMEOUT)[0].offset


def test_results_come_before_the_sequences_and_those_before_the_offsets(
    brokers: str, topic: str, consumer: Consumer
) -> None:
    """In any other order, a crash in between loses an event or repeats it."""
    send(brokers, topic, *(record(number) for number in (1, 2, 3)))
    journal = Journal(lambda: committed(consumer, topic))
    for event in Events(consumer, store=journal, commit_interval=0, idle_timeout=0.5):
        assert committed(consumer, topic) < event.offset + 1
        journal.results.append(event.sequence)
    assert [saved for saved, _ in journal.calls] == [[each] for each in journal.results]
    assert journal.calls[0][1] < 0
    wait_until(lambda: committed(consumer, topic) == 3)


def test_an_event_whose_processing_failed_is_neither_saved_nor_committed(
    brokers: str, topic: str, consumer: Consumer
) -> None:
    """A new loop begins with it; so does a new process."""
    send(brokers, topic, record(1), record(2), record(3))
    events = Events(consumer, commit_interval=0, idle_timeout=0.5)
    seen = []

    def process() -> None:
        for event in events:
            seen.append(event.number)
            1 // (event.number - 2)

    with pytest.raises(ZeroDivisionError):
        process()
    wait_until(lambda: committed(consumer, topic) == 1)
    assert [event.number for event in events] == [2, 3]
    assert seen == [1, 2]


def test_nothing_is_committed_before_the_user_says_so(brokers: str, topic: str, consumer: Consumer) -> None:
    """With ``commit_interval=None``, for results in batches. `commit` includes the event in hand."""
    send(brokers, topic, record(1), record(2), record(2), record(3))
    events = Events(consumer, commit_interval=None, idle_timeout=0.5)
    for event in events:
        assert committed(consumer, topic) < 0
        if event.number == 2:
            events.commit()
            assert committed(consumer, topic) == 2
            break
    assert [event.number for event in events] == [3]
    assert committed(consumer, topic) == 2
    events.commit()
    assert committed(consumer, topic) == 4


def test_a_store_drops_repeats_of_an_earlier_process(
    brokers: str, topic: str, consumer: Consumer, tmp_path: Path
) -> None:
    """The bridge repeats after a crash what an earlier run of the consumer has processed."""
    file = tmp_path / "highest.sqlite"
    send(brokers, topic, record(1), record(2), record(9, replayed=True))
    store = FileStore(file)
    assert len(rest(consumer, store=store)) == 3
    store.close()
    send(brokers, topic, record(1), record(2), record(9, replayed=True), record(3))
    consumer.seek(TopicPartition(topic, 0, 3))
    assert [event.number for event in rest(consumer, store=FileStore(file))] == [3]
    consumer.seek(TopicPartition(topic, 0, 3))
    assert [event.number for event in rest(consumer)] == [1, 2, 9, 3]  # without the store


def test_results_in_the_stores_file_are_committed_with_the_sequences(tmp_path: Path) -> None:
    """What was not saved is rolled back: the results of both are there, or of neither."""
    file, place = tmp_path / "results.sqlite", Place("t", 0, "local/a")
    store = FileStore(file)
    store.connection.execute("CREATE TABLE result (number INTEGER)")
    store.connection.execute("INSERT INTO result VALUES (1)")
    store.save({place: "0000000001:000000000001"})
    store.connection.execute("INSERT INTO result VALUES (2)")
    store.close()
    again = FileStore(file)
    assert again.connection.execute("SELECT number FROM result").fetchall() == [(1,)]
    assert again.load("t", 0) == {place: "0000000001:000000000001"}


def test_half_of_an_events_results_is_never_committed(
    brokers: str, topic: str, consumer: Consumer, tmp_path: Path
) -> None:
    """An exception in the body, and a close after it: what the body wrote to the store's file is rolled back."""
    send(brokers, topic, record(1), record(2), record(3))
    store = FileStore(tmp_path / "results.sqlite")
    store.connection.execute("CREATE TABLE result (number INTEGER)")

    def process(events: Events, fails_at: int) -> None:
        for event in events:
            store.connection.execute("INSERT INTO result VALUES (?)", (event.number,))
            assert event.number != fails_at
            store.connection.execute("INSERT INTO result VALUES (?)", (-event.number,))

    events = Events(consumer, store=store, commit_interval=1000.0, idle_timeout=0.5)
    with pytest.raises(AssertionError):
        process(events, 2)
    events.on_revoke(consumer, [TopicPartition(topic, 0)])  # as `close` does
    store.close()
    assert committed(consumer, topic) < 0
    store = FileStore(tmp_path / "results.sqlite")
    consumer.seek(TopicPartition(topic, 0, 0))
    process(Events(consumer, store=store, commit_interval=1000.0, idle_timeout=0.5), 0)
    found = store.connection.execute("SELECT number FROM result ORDER BY rowid").fetchall()
    assert [number for (number,) in found] == [1, -1, 2, -2, 3, -3]


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_store_never_lowers_a_sequence(kind: str, tmp_path: Path) -> None:
    """A member that lost its partition saves late."""
    store = MemoryStore() if kind == "memory" else FileStore(tmp_path / "store")
    place, other = Place("t", 0, "local/a"), Place("t", 1, "local/a")
    for sequence in ("0000000001:000000000007", "0000000001:000000000006"):
        store.save({place: sequence, other: sequence})
    assert store.load("t", 0) == {place: "0000000001:000000000007"}
    assert store.load("u", 0) == {}


def test_revoked_partitions_are_committed_up_to_the_processed_events(brokers: str, topic: str) -> None:
    """Before their next owner gets them, however long the interval is; not the event in hand."""
    send(brokers, topic, *(record(number) for number in (1, 2, 3)))
    group, store = uuid.uuid4().hex, MemoryStore()
    consumer = client(brokers, **{"group.id": group})
    events = iter(Events(consumer, [topic], store=store, commit_interval=1000.0))
    assert numbers(next(events) for _ in range(3)) == [(5, 1), (5, 2), (5, 3)]
    consumer.close()  # revokes
    observer = client(brokers, **{"group.id": group})
    assert committed(observer, topic) == 2
    observer.close()
    assert list(store.load(topic, 0).values()) == ["0000000005:000000000002"]


def test_an_error_that_needs_attention_is_raised(brokers: str, topic: str) -> None:
    """Records that retention removed, with a consumer that wants to know."""
    send(brokers, topic, record(1))
    consumer = client(brokers, **{"auto.offset.reset": "error"})
    consumer.assign([TopicPartition(topic, 0, 99)])
    with pytest.raises(KafkaException):
        rest(consumer)
    consumer.close()


def test_it_needs_nothing_but_the_client_and_the_standard_library() -> None:
    """Whoever consumes installs no server libraries."""
    code = (
        "import sys; before = set(sys.modules); import bridge.consumer;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)));"
        "print(*sorted(name for name in sys.modules if name.startswith('bridge.')"
        " and not name.startswith('bridge.consumer')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    third_party, ours = done.stdout.split("\n")[:2]
    assert (set(third_party.split()) - {"typing_extensions"}, ours) == ({"bridge", "confluent_kafka"}, "")
