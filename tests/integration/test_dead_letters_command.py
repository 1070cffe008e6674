"""``mix-bridge dead-letters`` on a real Kafka: list, show and replay, each dead letter at most once."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from confluent_kafka import Producer

from bridge.admin.dead_letters.replay import Report, Target, as_record, replay
from bridge.admin.dead_letters.topic import DeadLetterFilter, DeadLetters
from bridge.clock import unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import Place, dead_letter_of
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import Record
from bridge.core.records.rules import Format, Route
from bridge.core.stream.event import Event, Oversize
from bridge.errors import Unreachable
from bridge.kafka.client import Outgoing
from bridge.kafka.record_sender import Outcome, RecordSender
from bridge.mix.events import SCHEMA_VERSION
from tests.fakes.rules import RULES
from tests.support.earlier_records import earlier_form
from tests.support.process import MIX_BRIDGE, command, environment, on_terminal
from tests.support.processes import spawn
from tests.support.rule import follow, understand
from tests.support.scene import bridged, events, settings, wait_acknowledged
from tests.support.scripted_mix import block, content, scripted_mix, stream
from tests.support.topics import create_topic, end_offsets
from tests.support.waiting import TIMEOUT, wait_until

URL = "http://127.0.0.1:9"
EPOCH = 1_764_000_000
WRONG = '{"type":"content","content":42}'
EVIL = '{"type":"x","a":"\x1b[2J\u202e"}'
A, B = SessionKey("local", "a"), SessionKey("local", "b")


class Letters:
    """Dead letters of one namespace, written as the bridge writes them."""

    def __init__(self, kafka: str, namespace: str) -> None:
        self.kafka, self.namespace = kafka, namespace
        for name in ("events", "dead-letters", "tools"):
            create_topic(kafka, f"{namespace}.{name}", 2)
        self.rules = replace(
            RULES,
            unknown="dead_letter",
            events_topic=f"{namespace}.events",
            dead_letters_topic=f"{namespace}.dead-letters",
            schema_version=SCHEMA_VERSION,
        )
        self._producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random", "log_level": 2})

    def letter(self, sequence: int, data: str = WRONG, key: SessionKey = A, **event: Any) -> Record:
        """The dead letter of one event, an hour old."""
        one = Event("content", data, str(sequence), str(sequence), unix_ms() - 3_600_000)._replace(**event)
        made = Encoder(self.rules, key).encode(one, EPOCH, sequence)
        assert made is not None
        assert made.dead_letter is not None
        return made

    def write(self, *letters: Record) -> None:
        """Write records to the dead-letters topic."""
        for one in letters:
            self._producer.produce(one.topic, one.value, one.key, headers=[*one.headers], timestamp=one.timestamp_ms)
        assert self._producer.flush(TIMEOUT) == 0

    def run(self, *arguments: str, more: Mapping[str, object] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command with the settings of this namespace."""
        return command(["dead-letters", *arguments], settings(self.kafka, self.namespace, URL, more))

    def document(self, *arguments: str, code: int = 0, more: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Run a command with ``--json``."""
        done = self.run(*arguments, "--json", more=more)
        assert done.returncode == code, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def send(
        self, form: Format = "structured", *, dry_run: bool = False, sender: RecordSender | None = None, **more: Any
    ) -> Report:
        """Replay in this process, with rules that accept everything except as ``more`` says."""
        config = {"bootstrap.servers": self.kafka, "log_level": 0}
        rules = replace(self.rules, format=form, **({"invalid": "publish", "unknown": "publish"} | more))
        topics = {rules.events_topic, *(route.topic for route in rules.routes if "absent" not in route.topic)}
        return replay(
            DeadLetters(config, rules.dead_letters_topic, DeadLetterFilter()),
            Target({"local": rules}, frozenset(topics)),
            None if dry_run else sender or RecordSender(config, 900_000),
        )

    def replayed(self, topic: str = "events") -> Counter[tuple[str, int]]:
        """Count the replayed records of a topic by key and sequence."""
        found = map(understand, events(self.kafka, self.namespace, topic))
        return Counter((one.key, one.sequence) for one in found if one.replayed)


def earlier(record: Record) -> Record:
    """The same record as earlier versions wrote it."""
    value, headers = earlier_form(record.value, record.headers)
    return record._replace(value=value, headers=headers)


@pytest.fixture
def letters(kafka: str, namespace: str) -> Letters:
    """The topics of one namespace, empty."""
    return Letters(kafka, namespace)


PUBLISH = {"events.invalid": "publish"}


@pytest.mark.parametrize("form", get_args(Format))
def test_dead_letters_and_replays_of_earlier_versions_are_recognised(letters: Letters, form: Format) -> None:
    """Both forms of the number are listed and replayed; what an earlier version replayed is not sent again."""
    rules = replace(letters.rules, format=form, invalid="publish")
    letters.write(earlier(letters.letter(1)), letters.letter(2), earlier(letters.letter(3)))
    with_mark = as_record(dead_letter_of(Place(0, 0), 0, *letters.letter(3)[1:4]), {"local": rules})
    assert isinstance(with_mark, Record)
    letters.write(earlier(with_mark))
    found = letters.document("list", "--each")["dead_letters"]
    assert sorted(each["id"] for each in found) == [f"{EPOCH}:{number:012}" for number in (1, 2, 3)]
    report = letters.send(form)
    assert (report.sent.total(), report.before) == (2, 1)
    replayed = [one for one in events(letters.kafka, letters.namespace) if one.offset > 0]  # behind the earlier one
    assert [understand(one).id for one in replayed] == [f"{EPOCH}:{number:012}" for number in (1, 2)]


def test_from_a_stream_to_dead_letters_and_back(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A dead letter of the daemon is listed, shown and replayed with its number, its time and a mark."""
    with scripted_mix() as mix:
        mix.list("a")
        mix.streams = {
            "a": stream(
                block("1", "content", content(1)), block("2", "content", WRONG), block("3", "content", content(3))
            )
        }
        chosen = settings(kafka, namespace, mix.url)
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 3)
            (group,) = json.loads(command(["dlq", "list", "--json"], chosen).stdout)["groups"]
            assert (group["server"], group["session"], group["reason"], group["type"], group["count"]) == (
                "local", "a", "schema", "content", 1,
            )  # fmt: skip
            (one,) = json.loads(command(["dlq", "list", "--each", "--json"], chosen).stdout)["dead_letters"]
            shown = command(["dlq", "show", one["address"]], chosen)
            assert "content: Input should be a valid string" in shown.stdout
            assert '"content": 42' in shown.stdout
            assert command(["dlq", "replay"], chosen).returncode == 1
            done = command(["dlq", "replay"], {**chosen, **PUBLISH})
            assert (done.returncode, done.stderr) == (0, "")
    follower = follow([*events(kafka, namespace), *events(kafka, namespace, "dead-letters")])
    assert [one.sequence for one in follower.accepted] == [1, 3, 2]
    ((key, number),) = follower.replayed
    again = follower.replayed[key, number]
    assert (key, number, again.data.decode(), again.event) == ("local/a", one["id"], WRONG, "mix.content")
    envelope = json.loads(again.record.value or b"")
    assert (envelope["time"], envelope["sseid"], envelope["replayed"]) == (one["received_at"], "2", True)
    (letter,) = events(kafka, namespace, "dead-letters")
    assert again.record.timestamp == letter.timestamp


def test_the_list_counts_and_filters(letters: Letters) -> None:
    """By session, reason and type. A foreign record in the topic is counted."""
    letters.write(
        letters.letter(1),
        letters.letter(2, "{"),
        letters.letter(3, EVIL, name="wild\x1b[31m"),
        letters.letter(4, "x" * 70_000, oversize=Oversize(20_000_000, "ab" * 32)),
        letters.letter(1, key=B),
    )
    letters.write(Record(letters.rules.dead_letters_topic, b"k", b"foreign", [], unix_ms(), None))
    document = letters.document("list")
    assert (document["count"], document["foreign"], document["bytes"]) == (
        5,
        1,
        20_000_000 + 2 * len(WRONG) + 1 + len(EVIL.encode()),
    )
    assert [(group["session"], group["reason"]) for group in document["groups"]] == [
        *(("a", reason) for reason in ("invalid_json", "oversize", "schema", "unknown_event")),
        ("b", "schema"),
    ]
    assert letters.document("list", "--session", "local/*", "--reason", "schema", "--since", "2h")["count"] == 2
    assert letters.document("list", "--type", "wild*", "--since", "30m")["count"] == 0
    done = letters.run("list")
    assert "1 foreign record" in done.stdout
    assert "1 foreign record" in letters.run("replay", "--dry-run").stdout
    assert letters.document("replay", "--dry-run", "--type", "nothing")["foreign"] == 1
    assert "wild\\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout
    each = letters.run("list", "--each").stdout
    assert re.search(rf"^\d:\d +{EPOCH}:000000000004 ", each, re.MULTILINE)


def test_shown_text_is_safe_for_a_terminal(letters: Letters) -> None:
    """No foreign escape sequence or bidirectional override; --json is exact, long payloads are cut with a hint."""
    long = '{"type":"x","a":"' + "y" * 6000 + '"}'
    letters.write(letters.letter(3, EVIL, name="wild"), letters.letter(4, "\x1bnot json", name="wild\u202e"))
    letters.write(letters.letter(5, long, name="wild"))
    ids = [f"{EPOCH}:{number}" for number in (3, 4, 5)]
    seen = on_terminal(["dlq", "show", *ids], settings(letters.kafka, letters.namespace, URL))
    assert not set(seen) & {"\x1b", "\u202e", "\x07"}
    assert "\\x1b[2J\\u202e" in seen
    assert "\\x1bnot json" in seen
    assert "--full" in seen
    assert "y" * 6000 in letters.run("show", ids[2], "--full").stdout.replace("\n", "")
    document = letters.document("show", *ids, "7:7", code=1)
    assert [one["payload"] for one in document["dead_letters"]] == [EVIL, "\x1bnot json", long]
    assert document["dead_letters"][1]["headers"]["bridge.event"] == "wild\u202e"
    assert document["missing"] == ["7:7"]
    assert letters.run("show", "nonsense").returncode == 2


@pytest.mark.parametrize("form", ["structured", "binary", "raw"])
def test_nothing_is_sent_twice_and_unsendable_ones_are_reported(letters: Letters, form: Format) -> None:
    """In several runs, formats and routes, also if the topic has a dead letter twice. A dry run sends nothing."""
    routes = (Route("tool_*", f"{letters.namespace}.tools"),)
    tool = letters.letter(2, '{"type":"x"}', name="tool_execution_start")
    cut = letters.letter(3, "x", oversize=Oversize(20_000_000, "ab" * 32))
    letters.write(letters.letter(1), letters.letter(1), tool, cut, letters.letter(1, key=SessionKey("gone", "x")))
    ends = end_offsets(letters.kafka, f"{letters.namespace}.events")

    still = letters.send(form, routes=routes, invalid="dead_letter")
    assert not still.is_good
    assert (still.sent.total(), len(still.unsendable)) == (0, 5)
    dry = letters.send(form, routes=routes, dry_run=True)
    assert (dry.sent.total(), dry.repeats, len(dry.unsendable)) == (2, 1, 2)
    assert end_offsets(letters.kafka, f"{letters.namespace}.events") == ends

    first = letters.send(form, routes=routes)
    assert first.sent == {f"{letters.namespace}.events": 1, f"{letters.namespace}.tools": 1}
    assert {each.why[:12] for _, each in first.unsendable} == {"only 1 of it", "the settings"}
    again = letters.send("raw" if form == "structured" else "structured", routes=routes)
    assert (again.sent.total(), again.before, again.error) == (0, 3, None)
    assert letters.replayed() == {("local/a", 1): 1}
    assert letters.replayed("tools") == {("local/a", 2): 1}
    assert sum(end_offsets(letters.kafka, f"{letters.namespace}.dead-letters").values()) == 5


def test_a_killed_replay_can_be_repeated(letters: Letters, tmp_path: Path) -> None:
    """After two kills with -9, the topic has each one once."""
    count = 6000
    letters.write(
        *(letters.letter(number, key=SessionKey("local", f"s{number % 7}")) for number in range(1, count + 1))
    )
    chosen = settings(letters.kafka, letters.namespace, URL, PUBLISH)
    topic = f"{letters.namespace}.events"
    cut_short = 0
    for _ in range(2):
        before = sum(end_offsets(letters.kafka, topic).values())
        process = spawn([*MIX_BRIDGE, "dlq", "replay"], env=environment(chosen), log=tmp_path / "log")
        wait_until(lambda: sum(end_offsets(letters.kafka, topic).values()) > before + 50, 30, "some to be sent", 0.001)  # noqa: B023 - called at once
        process.kill()
        process.wait()
        cut_short += sum(end_offsets(letters.kafka, topic).values()) < count
    assert cut_short == 2, "the kills came too late to say anything"
    last = letters.document("replay", more=PUBLISH)
    assert last["sent"] + last["replayed_before"] == count
    assert last["replayed_before"] > 100
    sent = letters.replayed()
    assert len(sent) == count
    assert set(sent.values()) == {1}


def test_a_refusing_or_missing_topic_is_reported(letters: Letters) -> None:
    """A record that is too large for its topic, and a route to a topic that does not exist."""
    small = f"{letters.namespace}.small"
    create_topic(letters.kafka, small, 1, {"max.message.bytes": "2000"})
    letters.write(letters.letter(1, json.dumps({"type": "content", "content": [os.urandom(4000).hex()]})))
    ((letter, result),) = letters.send(routes=(Route("*", small),)).unsendable
    assert "MSG_SIZE_TOO_LARGE" in result.why
    assert letter.number.sequence == 1
    ((_, result),) = letters.send(routes=(Route("*", f"{letters.namespace}.absent"),)).unsendable
    assert result.why == f"there is no topic {letters.namespace}.absent"
    assert letters.send().is_good


class Interrupted(RecordSender):
    """Sends two records, then fails."""

    left = 2

    def send(self, record: Outgoing, outcome: Outcome) -> None:
        """Fail at the third one."""
        if not self.left:
            self.settle()
            raise Unreachable("gone")
        self.left -= 1
        super().send(record, outcome)


def test_an_error_during_a_replay_is_reported_with_the_counts(letters: Letters) -> None:
    """The next run sends the rest."""
    letters.write(*(letters.letter(number) for number in range(1, 6)))
    report = letters.send(sender=Interrupted({"bootstrap.servers": letters.kafka}, 900_000))
    assert (report.sent.total(), str(report.error), report.is_good) == (2, "gone", False)
    report = letters.send()
    assert (report.sent.total(), report.before, report.is_good) == (3, 2, True)


def test_one_is_replayed_by_address_or_id_and_errors_have_exit_codes(letters: Letters, namespace: str) -> None:
    """2 for a wrong use, 78 for a missing topic or missing brokers, 69 for an unreachable Kafka."""
    letters.write(letters.letter(1), letters.letter(2))
    first, second = letters.document("list", "--each", "--since", "2h", "--session", "local/*")["dead_letters"]
    assert letters.document("replay", first["address"], more=PUBLISH)["sent"] == 1
    for names in (["0:99999"], ["9:0", first["id"]], [second["id"], "--session", "local/b"]):
        done = letters.run("replay", "--dry-run", *names, more=PUBLISH)
        assert (done.returncode, f"has no dead letter {names[0]}" in done.stderr) == (1, True), (
            done.stdout + done.stderr
        )
    assert letters.document("replay", first["id"], second["id"], more=PUBLISH)["replayed_before"] == 1
    assert letters.replayed() == {("local/a", 1): 1, ("local/a", 2): 1}
    assert letters.run("list", "--since", "2026-01-01").returncode == 2
    done = letters.run("list", more={"namespace": f"{namespace}-other"})
    assert (done.returncode, f"there is no topic {namespace}-other.dead-letters" in done.stderr) == (78, True)
    done = letters.run("replay", more={"kafka.bootstrap_servers": "127.0.0.1:9"})
    assert (done.returncode, done.stdout) == (69, "")
    done = command(["dlq", "list"], {"namespace": namespace})
    assert (done.returncode, done.stderr.startswith("kafka.bootstrap_servers: is missing")) == (78, True)


def test_an_old_replayed_record_is_found_behind_younger_ones(letters: Letters) -> None:
    """The search starts at the time of the event; the replayed record is behind much younger ones."""
    letters.write(letters.letter(1, received_ms=unix_ms() - 40 * 86_400_000))
    assert letters.send().sent.total() == 1
    letters.write(letters.letter(2))
    report = letters.send()
    assert (report.sent.total(), report.before) == (1, 1)
    assert letters.send().before == 2
    old, _ = sorted(events(letters.kafka, letters.namespace), key=lambda record: record.timestamp)
    assert old.timestamp < unix_ms() - 39 * 86_400_000
