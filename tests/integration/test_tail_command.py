"""``mix-bridge tail`` as a process, on a real Kafka."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from bridge.clock import monotonic
from tests.consumer.records import record, send
from tests.support.broker import quiet_admin
from tests.support.forked import Process
from tests.support.process import MIX_BRIDGE, environment, run_to_end
from tests.support.processes import start
from tests.support.topics import create_topic, delete_topics
from tests.support.waiting import SCALE, TIMEOUT, let_pass, wait_until


@pytest.fixture
def brokers(kafka: str, namespace: str) -> str:
    """The shared broker with an events topic of this namespace."""
    create_topic(kafka, f"{namespace}.events", 2)
    return kafka


def command(brokers: str, namespace: str, *options: str) -> tuple[list[str], Mapping[str, str]]:
    """The command line, and its environment."""
    chosen = {"namespace": namespace, "kafka.bootstrap_servers": brokers}
    return [*MIX_BRIDGE, "tail", *options], environment(chosen)


@contextmanager
def following(folder: Path, brokers: str, namespace: str, *options: str) -> Iterator[tuple[Process, Path]]:
    """A running command, and the file with what it prints."""
    arguments, variables = command(brokers, namespace, *options)
    said = folder / "tail.out"
    with said.open("wb") as out, (folder / "tail.err").open("wb") as errors:
        process = start(arguments, out, errors, variables, None)
        try:
            yield process, said
        finally:
            process.kill()
            process.wait()


def run(brokers: str, namespace: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    arguments, variables = command(brokers, namespace, *options)
    return run_to_end(arguments, variables)


def test_an_event_is_on_the_screen_within_a_second_and_no_group_remains(
    brokers: str, namespace: str, tmp_path: Path
) -> None:
    """Committed records only; Ctrl-C ends it with 0."""
    topic = f"{namespace}.events"
    with following(tmp_path, brokers, namespace, "--last", "9", "--format", "json") as (process, said):
        send(brokers, topic, record(1))
        wait_until(said.read_text, 30, f"the first event, see {tmp_path}")
        aborted = Producer({"bootstrap.servers": brokers, "transactional.id": namespace})
        aborted.init_transactions(TIMEOUT)
        aborted.begin_transaction()
        lost = record(2)
        aborted.produce(topic, lost.value, lost.key, 1, headers=dict(lost.headers))
        aborted.flush(TIMEOUT)
        aborted.abort_transaction(TIMEOUT)
        send(brokers, topic, record(3), partition=1)
        wait_until(lambda: len(said.read_text().splitlines()) > 1, 30, "the second event")

        def seconds(number: int) -> float:
            began = monotonic()
            send(brokers, topic, record(number), partition=1)
            wait_until(lambda: len(said.read_text().splitlines()) >= number - 1, 30, "the next event", 0.005)
            return monotonic() - began

        last = next(number for number in range(4, 14) if seconds(number) < 1.0)  # a busy machine can be late by chance
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
        numbers = [json.loads(line)["number"] for line in said.read_text().splitlines()]
        assert numbers == [1, *range(3, last + 1)]
    groups = quiet_admin(brokers).list_consumer_groups(request_timeout=TIMEOUT).result(TIMEOUT).valid
    assert not [each.group_id for each in groups if "mix-bridge-reads" in each.group_id]
    assert "Traceback" not in (tmp_path / "tail.err").read_text()


@pytest.mark.parametrize("format_", ["text", "json", "raw"])
def test_a_closed_pipe_ends_it_quietly(brokers: str, namespace: str, format_: str) -> None:
    """``| head -1``: also while no further event comes."""
    send(brokers, f"{namespace}.events", *(record(number, name="novelty") for number in (1, 2, 3)))
    arguments, variables = command(brokers, namespace, "--last", "3", "--format", format_)
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(variables))
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as out, process.stderr as errors:
        assert out.readline()
        out.close()
        assert process.wait(TIMEOUT) == 0
        assert b"Traceback" not in errors.read()


def test_it_exits_with_the_codes_of_the_interface(brokers: str, namespace: str) -> None:
    """Kafka away 69, no such topic 78, both with one clear line; nothing found is no error. For 2: tests/admin."""
    for expected, where, options in (
        (69, "127.0.0.1:1", ["--no-follow"]),
        (78, brokers, ["--topic", "lifecycle", "--no-follow"]),
        (0, brokers, ["nobody/*", "--no-follow"]),
    ):
        done = run(where, namespace, *options)
        assert (done.returncode, done.stdout) == (expected, ""), (options, done.stderr)
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_topic_that_is_deleted_meanwhile_is_named(brokers: str, namespace: str, tmp_path: Path) -> None:
    """A silent stop would look like a quiet agent."""
    topic = f"{namespace}.events"
    send(brokers, topic, record(1))
    with following(tmp_path, brokers, namespace, "--last", "1", "--format", "json") as (process, said):
        wait_until(said.read_text, 30, "the event")
        let_pass(0.2)
        delete_topics(brokers, topic)
        assert process.wait(60 * SCALE) == 78
    assert f"there is no topic {topic} any more" in (tmp_path / "tail.err").read_text()
