"""Records as consumers find them: formats byte for byte, dead letters, routes, keys, partitions, numbers, epochs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from bridge.clock import unix_ms
from bridge.consumer.envelope import members_of
from bridge.core.records.claim import CLAIM_KEY
from tests.support.mix import MixServer, prove
from tests.support.rule import understand
from tests.support.scene import (
    accepted,
    bridged,
    checkpoints,
    events,
    last_checkpoint,
    settings,
    started,
    texts,
    wait_accepted,
    wait_acknowledged,
)
from tests.support.scripted_mix import Feed, block, content, contents, scripted_mix, stream
from tests.support.topics import Read, create_topic, read_topic
from tests.support.waiting import TIMEOUT

ODD = '{ "content" : "\\u00fc \u0085 \U0001f600 1e-7",\t"type":"content", "n": 1.00, "n": 2E+2 }'
"""JSON that no parse and print gives back: order, escapes, blanks, numbers, a member twice."""
SESSION = "a/ü b"
"""An id that a URL, a header and a source must treat each in its own way."""


def one_run(kafka: str, namespace: str, folder: Path, more: Mapping[str, object], *blocks: bytes) -> None:
    """Bridge one session with these blocks, to an orderly stop. Every block but the last must become a record."""
    with scripted_mix() as mix:
        mix.list(SESSION)
        mix.streams = {SESSION: stream(*blocks)}
        with bridged(folder, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, SESSION, len(blocks))


def test_a_structured_record_is_the_envelope_of_the_description(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Every attribute of the table and no other, the data as it came, the header, the key, the timestamp."""
    before = unix_ms()
    one_run(kafka, namespace, tmp_path, {}, block("x-7", "content", ODD), block(None, "content", content("no id")))
    first, second = (record for record in events(kafka, namespace))
    assert first.headers == (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    assert first.value is not None
    members = dict(members_of(first.value.decode()))
    assert members.pop("data") == ODD
    attributes = {name: json.loads(text) for name, text in members.items()}
    assert_attributes(attributes, first, before, "x-7")
    assert first.key == "local/a/ü b".encode()
    assert second.value is not None
    envelope = json.loads(second.value)
    assert "sseid" not in envelope
    assert (envelope["sequence"], envelope["epoch"]) == (f"{attributes['epoch']}:000000000002", attributes["epoch"])


def assert_attributes(attributes: dict[str, Any], record: Read, before: int, sseid: str) -> None:
    """As in the table of the records' description."""
    epoch = attributes["epoch"]
    assert re.fullmatch("[0-9]{10}", epoch)
    assert before // 1000 <= int(epoch) <= unix_ms() // 1000
    time = attributes.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,}Z", time)
    assert before <= record.timestamp <= unix_ms()
    assert time.endswith(f".{record.timestamp % 1000:03}Z")
    assert attributes == {
        "specversion": "1.0",
        "id": f"{epoch}:000000000001",
        "source": "/mix/local/sessions/a%2F%C3%BC%20b",
        "type": "mix.content",
        "subject": SESSION,
        "datacontenttype": "application/json",
        "sequence": f"{epoch}:000000000001",
        "epoch": epoch,
        "sseid": sseid,
    }


@pytest.mark.parametrize("form", ["structured", "binary", "raw"])
def test_what_the_server_sent_arrives_byte_for_byte(kafka: str, namespace: str, tmp_path: Path, form: str) -> None:
    """A lively session of all event types, against the server's own journal."""
    with MixServer(tmp_path / "mix", "--sessions", 2, "--rate", 0) as mix:
        with bridged(tmp_path, settings(kafka, namespace, mix.url, {"events.format": form})) as bridge:
            mix.post("/control/sessions", {"id": "s", "rate": 0})
            mix.post("/control/sessions/s/burst", {"count": 400})
            wait_acknowledged(bridge, "s", 400)
        prove(kafka, [f"{namespace}.events"], mix.journal())


def test_every_kind_of_dead_letter(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Reason, one line of error without payload, all headers, and the whole data, which the topic takes."""
    giant = json.dumps({"type": "content", "content": "g" * 200_000})
    blocks = {
        "invalid_json": ("content", '{"type": "content", "content": secret-payload'),
        "schema": ("content", '{"type": "content", "secret-payload": 1}'),
        "unknown_event": ("novelty", '{"secret-payload": true}'),
        "oversize": ("content", giant),
    }
    more = {"events.unknown": "dead_letter", "events.max_bytes": "100KiB"}
    sent = [block(str(number), name, data) for number, (name, data) in enumerate(blocks.values(), 1)]
    one_run(kafka, namespace, tmp_path, more, *sent, *contents(5))
    letters = {letter.header("bridge.reason"): letter for letter in events(kafka, namespace, "dead-letters")}
    assert set(letters) == set(blocks)
    epoch = f"{accepted(kafka, namespace, SESSION)[0].epoch:010}"
    for number, (reason, (name, data)) in enumerate(blocks.items(), 1):
        letter, full = letters[reason], data.encode()
        assert letter.key == f"local/{SESSION}".encode()
        assert letter.value == full
        headers = {name: (value or b"").decode() for name, value in letter.headers}
        error = headers.pop("bridge.error")
        assert error
        assert error.isprintable()
        assert "secret-payload" not in error
        assert headers.pop("bridge.received_at").endswith(f".{letter.timestamp % 1000:03}Z")
        assert headers == {
            "bridge.reason": reason,
            "bridge.server": "local",
            "bridge.session": SESSION,
            "bridge.event": name,
            "bridge.last_event_id": str(number),
            "bridge.epoch": epoch,
            "bridge.sequence": f"{epoch}:{number:012}",
            "bridge.bytes": str(len(full)),
            "bridge.sha256": hashlib.sha256(full).hexdigest(),
        }
    assert [one.sequence for one in accepted(kafka, namespace, SESSION)] == [5]


def test_only_a_too_large_record_becomes_a_dead_letter(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A topic smaller than ``events.max_bytes``: a warning at the start, one dead letter, none beside it lost."""
    for topic in ("events", "dead-letters"):
        create_topic(kafka, f"{namespace}.{topic}", 1, {"max.message.bytes": "20000"})
    big = content("b" * 50_000)
    with scripted_mix() as mix:
        mix.serve({"a": stream(*contents(*range(1, 50)), block("50", "content", big), *contents(*range(51, 80)))})
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "a", 79 - 49)
            assert bridge.terminate() == 0
            assert "max.message.bytes=20000" in bridge.log_text()
    letters = events(kafka, namespace, "dead-letters")
    assert {letter.header("bridge.reason") for letter in letters} == {"oversize"}
    assert {letter.header("bridge.last_event_id") for letter in letters} == {"50"}
    assert {letter.header("bridge.bytes") for letter in letters} == {str(len(big))}
    assert set(texts(kafka, namespace, "a")) == {str(number) for number in range(1, 80) if number != 50}


def test_skipped_events_take_no_number_and_move_the_position(kafka: str, namespace: str, tmp_path: Path) -> None:
    """``connected`` and ``heartbeat`` always, what ``events.skip`` names, and by policy the unknown and the invalid."""
    blocks = [
        block("0", "connected", '{"sessionId":"a"}'),
        *contents(1),
        block("2", "thinking", '{"type":"thinking","content":"x"}'),
        block("3", "novelty", "{}"),
        block("4", "content", "{}"),
        block("900", "heartbeat", '{"type":"heartbeat"}'),
        *contents(5),
        block("6", "thinking", '{"type":"thinking","content":"x"}'),
    ]
    more = {"events.skip": "thinking", "events.unknown": "skip", "events.invalid": "skip"}
    with (
        scripted_mix({"a": stream(*blocks)}) as mix,
        bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge,
    ):
        wait_acknowledged(bridge, "a", 2)
    assert [(one.sequence, json.loads(one.data)["content"]) for one in accepted(kafka, namespace, "a")] == [
        (1, "1"),
        (2, "5"),
    ]
    assert events(kafka, namespace, "dead-letters") == []
    assert last_checkpoint(kafka, namespace, "a")["last_event_id"] == "6"


def test_routes_divide_the_events_and_keep_one_numbering(kafka: str, namespace: str, tmp_path: Path) -> None:
    """First match wins, a server narrows, the rest goes to the events topic; numbers are without holes over all."""
    tool = '{"type":"tool_use_parameter_delta","toolCallId":"t","input":"x"}'
    routes = [
        {"match": "tool_*", "topic": f"{namespace}.elsewhere", "server": "other"},
        {"match": "tool_*", "topic": f"{namespace}.tools"},
        {"match": "tool_use_*", "topic": f"{namespace}.never"},
    ]
    blocks = [*contents(1), block("2", "tool_use_parameter_delta", tool), *contents(3), block("4", "content", "{}")]
    more: dict[str, object] = {"topics.routes": routes, "servers.other.url": "http://127.0.0.1:9"}
    one_run(kafka, namespace, tmp_path, more, *blocks)
    found = {
        topic: [understand(record).sequence for record in events(kafka, namespace, topic)]
        for topic in ("events", "tools", "elsewhere", "never", "dead-letters")
    }
    assert found == {"events": [1, 3], "tools": [2], "elsewhere": [], "never": [], "dead-letters": [4]}


def test_keys_go_where_java_clients_put_them(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Events, dead letters and checkpoints of 40 sessions, beside librdkafka's own murmur2 of their keys."""
    names = [f"s{'x' * (number % 5)}-{number}-ü" for number in range(40)]
    create_topic(kafka, f"{namespace}.reference", 7)
    reference = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2", "log_level": 2})
    for name in names:
        reference.produce(f"{namespace}.reference", b"", f"local/{name}".encode())
    assert reference.flush(TIMEOUT) == 0
    expected = {record.key: record.partition for record in read_topic(kafka, f"{namespace}.reference")}
    assert len(set(expected.values())) == 7
    with scripted_mix() as mix:
        mix.list(*names)
        mix.streams = dict.fromkeys(names, stream(*contents(1), block("2", "content", "{}")))
        more = {"topics.partitions": 7, "topics.shards": 7}
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            for name in names:
                wait_acknowledged(bridge, name, 2)
    for topic in ("events", "dead-letters", "checkpoints"):
        records = [record for record in events(kafka, namespace, topic) if record.key != CLAIM_KEY]
        assert {record.key: record.partition for record in records} == expected, topic


@pytest.mark.parametrize(
    ("changed", "is_new"),
    [
        ({"events.skip": "thinking"}, True),
        ({"events.unknown": "dead_letter"}, True),
        ({"events.invalid": "publish"}, True),
        ({"servers.local.event_schema": "none"}, True),
        ({"events.format": "binary", "events.type_prefix": "other."}, False),
        ({"events.skip": "heartbeat,connected"}, False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_changed_rules_of_numbering_begin_a_new_epoch(
    kafka: str, namespace: str, tmp_path: Path, changed: dict[str, object], is_new: object
) -> None:
    """What decides which events take a number; not what they look like. The position stays, nothing is repeated."""
    feed = Feed(2)
    with scripted_mix({"a": feed}) as mix:
        chosen = settings(kafka, namespace, mix.url)
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 2)
        feed.add(2)
        with bridged(tmp_path, chosen | changed) as bridge:
            wait_accepted(kafka, namespace, "a", 4)
    got = [understand(record) for record in events(kafka, namespace)]
    assert [json.loads(one.data)["content"] for one in got] == ["1", "2", "3", "4"]
    assert [one.sequence for one in got] == ([1, 2, 1, 2] if is_new else [1, 2, 3, 4])
    epochs = sorted({one.epoch for one in got})
    assert len(epochs) == (2 if is_new else 1)
    if is_new:
        written = checkpoints(kafka, namespace)["local/a"]
        first = next(one for one in written if one["epoch"] == epochs[1])
        assert (first["last_event_id"], first["sequence"]) == ("2", 0)
