"""``mix-bridge verify`` on a real Kafka: complete logs pass, each fault is found and named."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from bridge.admin.kafka_access import KafkaAccess
from bridge.admin.verify.audit import audit
from bridge.admin.verify.report import Report, parts
from bridge.clock import unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.formats import WRITERS, Names
from bridge.core.records.lifecycle import LifecycleEvent, LifecycleWriter
from bridge.core.records.record import event_headers, failure_headers
from bridge.core.stream.event import Event
from bridge.settings import load_all
from tests.support.earlier_records import earlier_form
from tests.support.lifecycle import lifecycle
from tests.support.process import command, environment, on_terminal
from tests.support.scene import bridged, events, settings, wait_acknowledged
from tests.support.scripted_mix import Feed, block, content, contents, scripted_mix, stream
from tests.support.topics import create_topic, remove_before
from tests.support.waiting import TIMEOUT, wait_until

EPOCH = 1_700_000_000
HOUR_MS = 3_600_000
COMPACTED = {"cleanup.policy": "compact"}
Settings = dict[str, object]
NO_MORE: Settings = {}
TOPICS = ("events", "dead-letters", "checkpoints", "lifecycle")


class Answer(NamedTuple):
    """The exit code and the JSON document."""

    code: int
    document: dict[str, Any]

    def session(self, session_id: str) -> dict[str, Any]:
        """One session."""
        (found,) = (one for one in self.document["sessions"] if one["session"] == session_id)
        return dict(found)

    def epoch(self, session_id: str = "a", at: int = 0) -> dict[str, Any]:
        """One of its epochs."""
        return dict(self.session(session_id)["epochs"][at])


def access_settings(kafka: str, namespace: str) -> dict[str, object]:
    """The settings of the command."""
    return {"namespace": namespace, "kafka.bootstrap_servers": kafka}


def verify(kafka: str, namespace: str, *sessions: str, since_ms: int | None = None, more: Settings = NO_MORE) -> Answer:
    """Run the verification in this process; 0 and 1 are the exit codes of the command."""
    report = report_of(kafka, namespace, *sessions, since_ms=since_ms, more=more)
    return Answer(0 if report.is_good else 1, json.loads(json.dumps(report.document())))


def report_of(
    kafka: str, namespace: str, *sessions: str, since_ms: int | None = None, more: Settings = NO_MORE
) -> Report:
    """What the verification found."""
    chosen = load_all({}, environment(access_settings(kafka, namespace) | more)).settings
    only = frozenset(session.encode() for session in sessions) or None
    return Report.of(audit(KafkaAccess.of(chosen), only, since_ms, lambda *_: None), chosen)


class Log:
    """The topics of one namespace, with records as the bridge writes them."""

    def __init__(self, kafka: str, namespace: str, form: str = "structured", *more_topics: str) -> None:
        self.kafka, self.namespace, self.form = kafka, namespace, form
        self.is_earlier = False
        """Write records as earlier versions did."""
        for topic in (*TOPICS, *more_topics):
            create_topic(kafka, f"{namespace}.{topic}", 1, COMPACTED if topic == "checkpoints" else {})
        self._producer = Producer({"bootstrap.servers": kafka, "log_level": 2})
        self._clock = unix_ms() - 2 * HOUR_MS  # not older: retention would remove it

    def _put(
        self, topic: str, key: SessionKey, value: bytes, headers: Sequence[tuple[str, bytes]], when: int | None = None
    ) -> None:
        self._clock += 1
        if self.is_earlier:
            value, headers = earlier_form(value, headers)
        self._producer.produce(
            f"{self.namespace}.{topic}", value, key.record_key, headers=list(headers), timestamp=when or self._clock
        )

    def events(self, *numbers: int, session: str = "a", epoch: int = EPOCH, topic: str = "events") -> Log:
        """Event records with these numbers."""
        key = SessionKey("local", session)
        names = Names(key, "content", "mix.")
        for number in numbers:
            event = Event("content", content(number), str(number), str(number), self._clock)
            value, headers = WRITERS[self.form](names, event, f"{epoch:010}", number, "", True)  # noqa: FBT003 - a Writer's way
            self._put(topic, key, value, headers)
        return self

    def dead(self, *numbers: int, session: str = "a", epoch: int = EPOCH, replayed: bool = False) -> Log:
        """Dead letters, or replays of them in the events topic."""
        key = SessionKey("local", session)
        for number in numbers:
            event = Event("content", "{", str(number), str(number), self._clock)
            headers = event_headers(key, event, b"{", epoch, number)
            extra = [("bridge.replayed", b"true")] if replayed else failure_headers("invalid_json", "no JSON")
            self._put("events" if replayed else "dead-letters", key, b"{", [*extra, *headers])
        return self

    def position(self, sequence: int, session: str = "a", epoch: int = EPOCH) -> Log:
        """A checkpoint."""
        value = {
            "version": 1,
            "server": "local",
            "session": session,
            "last_event_id": str(sequence),
            "epoch": epoch,
            "sequence": sequence,
            "state": "active",
            "updated_at": "2026-01-01T00:00:00.000Z",
        }
        self._put("checkpoints", SessionKey("local", session), json.dumps(value).encode(), [])
        return self

    def lifecycle_event(
        self, lifecycle_event: LifecycleEvent, sequence: int, epoch: int = EPOCH, new_epoch: int | None = None
    ) -> Log:
        """A lifecycle record."""
        key = SessionKey("local", "a")
        record = LifecycleWriter(key, "x").record(lifecycle_event, epoch, sequence, self._clock, new_epoch)
        self._put("lifecycle", key, record.value, record.headers)
        return self

    def written(self) -> Log:
        """Wait until Kafka has acknowledged all records."""
        assert self._producer.flush(TIMEOUT) == 0
        return self

    def verify(self, *sessions: str, since_ms: int | None = None, more: Settings = NO_MORE) -> Answer:
        """Verify the records so far."""
        self.written()
        return verify(self.kafka, self.namespace, *sessions, since_ms=since_ms, more=more)

    def remove_before(self, topic: str, offset: int) -> None:
        """Remove records like retention."""
        self.written()
        remove_before(self.kafka, f"{self.namespace}.{topic}", offset)


@pytest.mark.parametrize("form", ["structured", "binary", "raw"])
def test_each_fault_is_found_in_every_format(kafka: str, namespace: str, form: str) -> None:
    """A loss, a duplicate, a swap and a truncation; a complete session is reported as complete."""
    log = Log(kafka, namespace, form)
    log.events(1, 2, 3, 5, session="sound").dead(4, session="sound").position(5, session="sound")
    log.events(1, 2, 5, 6, session="lost").position(6, session="lost")
    log.events(1, 2, 2, 1, 3, session="twice").position(3, session="twice")
    log.events(1, 3, 2, 4, session="swapped").position(4, session="swapped")
    log.events(1, 2, session="truncated").position(4, session="truncated")
    answer = log.verify()
    assert (answer.code, answer.document["verdict"]) == (1, "loss")
    verdicts = {one["session"]: one["verdict"] for one in answer.document["sessions"]}
    assert verdicts == {
        "sound": "complete",
        "lost": "loss",
        "twice": "complete",
        "swapped": "loss",
        "truncated": "loss",
    }
    assert (answer.epoch("lost")["lost"], answer.epoch("lost")["lost_count"]) == ([[3, 4]], 2)
    assert answer.epoch("twice")["repeats"] == 2
    swapped = answer.epoch("swapped")
    assert (swapped["hidden"], swapped["out_of_order"], swapped["lost"]) == ([[2, 2]], 1, [])
    assert (answer.epoch("truncated")["lost"], answer.epoch("truncated")["truncated"]) == ([[3, 4]], 2)
    sound = answer.epoch("sound")
    assert (sound["first"], sound["last"], sound["complete"], sound["dead_letters"]) == (1, 5, True, 1)
    totals = answer.document["totals"]
    assert (totals["lost"], totals["hidden"], totals["repeats"], totals["dead_letters"]) == (4, 1, 2, 1)
    assert (totals["sessions"], totals["sessions_loss"], totals["records"]) == (5, 3, 20)


def test_a_loss_in_a_compacted_topic_names_the_cause(kafka: str, namespace: str) -> None:
    """Kafka removes what a newer record of the session follows: otherwise one would search the bridge for the loss."""
    create_topic(kafka, f"{namespace}.tools", 1, COMPACTED)
    log = Log(kafka, namespace).events(1, 3).events(4, topic="tools").position(4).written()
    report = report_of(kafka, namespace, more={"topics.routes": [{"match": "tool_*", "topic": f"{namespace}.tools"}]})
    assert [each.name for each in report.topics if each.is_compacted] == [f"{namespace}.tools"]
    lines = [str(each) for each in parts(report, every=False)]
    assert [each for each in lines if "it is compacted, so Kafka removes records" in each] == [lines[1]]
    assert not any(each["is_compacted"] for each in log.events(2).verify().document["topics"])


@pytest.mark.parametrize("form", ["structured", "binary", "raw"])
def test_an_epoch_in_both_forms_of_the_number_is_judged_as_one(kafka: str, namespace: str, form: str) -> None:
    """``sequence`` without the epoch, as earlier versions wrote it, and with it; what is missing is still found."""
    log = Log(kafka, namespace, form)
    gap = LifecycleEvent("gap", "evicted", "The server forgot some.", "3", "9", 5)
    log.is_earlier = True
    log.events(1, 2).dead(3).lifecycle_event(gap, 3).events(1, session="b")
    log.is_earlier = False
    log.events(2, 4).dead(5).position(5).events(3, session="b").position(3, "b")
    answer = log.verify()
    assert answer.epoch("a")["verdict"] == "complete"
    assert (answer.epoch("a")["repeats"], answer.epoch("a")["dead_letters"], answer.session("a")["gaps"]["gap"]) == (
        1,
        2,
        1,
    )
    assert answer.epoch("b")["lost"] == [[2, 2]]
    assert (answer.code, answer.document["totals"]["foreign"]) == (1, 0)


def test_a_session_of_an_earlier_version_continues_in_a_new_epoch_and_is_complete(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """An upgrade: nothing is lost, no epoch has both forms, and ids order the records of both versions."""
    log = Log(kafka, namespace)
    log.is_earlier = True
    log.events(1, 2, 3).dead(4).position(4).written()
    log.is_earlier = False
    with (
        scripted_mix({"a": Feed(6)}) as mix,
        bridged(tmp_path, settings(kafka, namespace, mix.url, {"topics.shards": 1})),
    ):
        wait_until(lambda: len(events(kafka, namespace)) == 5, 20, "events 5 and 6 behind 1 to 3", 0.1)
    answer = log.verify()
    assert answer.code == 0
    assert [epoch["records"] for epoch in answer.session("a")["epochs"]] == [4, 2]
    envelopes = [json.loads(record.value or b"") for record in events(kafka, namespace)]
    assert [each["id"] for each in envelopes] == sorted({each["id"] for each in envelopes})
    assert [each["sequence"] == each["id"] for each in envelopes] == [False] * 3 + [True] * 2
    resumed = lifecycle(kafka, namespace, "a")[0]
    assert (resumed.kind, resumed.reason, resumed.epoch, resumed.sequence) == ("resumed", "settings_changed", EPOCH, 4)


def test_one_session_can_be_verified(kafka: str, namespace: str) -> None:
    """Losses of other sessions do not count. An unknown session is not complete."""
    log = Log(kafka, namespace).events(1, 2, 3).position(3).events(1, 3, session="b").position(3, session="b")
    alone = log.verify("local/a")
    assert (alone.code, [one["session"] for one in alone.document["sessions"]]) == (0, ["a"])
    assert log.verify("local/a", "local/b").code == 1
    misspelt = log.verify("local/A")
    assert (misspelt.code, misspelt.session("A")["verdict"]) == (1, "unknown")


def test_an_expired_head_is_not_lost_but_a_gap_behind_it_is(kafka: str, namespace: str) -> None:
    """Also if the whole session or old dead letters expired."""
    log = Log(kafka, namespace).events(*range(1, 11)).position(10).events(1, 2, session="b").position(2, session="b")
    log.remove_before("events", 4)
    answer = log.verify()
    assert (answer.code, answer.session("a")["verdict"], answer.epoch()["expired"]) == (0, "expired", 4)
    assert answer.epoch("b")["expired"] == 0
    log.events(13).position(13).remove_before("events", 5)
    answer = log.verify()
    assert (answer.code, answer.epoch()["expired"], answer.epoch()["lost"]) == (1, 5, [[11, 12]])
    log.remove_before("events", 13)
    answer = log.verify()
    assert (answer.code, {one["verdict"] for one in answer.document["sessions"]}) == (0, {"expired"})
    assert next(one for one in answer.document["topics"] if one["role"] == "events")["is_cut"]


def test_since_ignores_older_losses(kafka: str, namespace: str) -> None:
    """Later ones are reported."""
    log = Log(kafka, namespace).events(1, 3, 4)
    log._clock += HOUR_MS
    log.events(5, 6, 8).position(8)
    assert log.verify().epoch()["lost"] == [[2, 2], [7, 7]]
    answer = log.verify(since_ms=unix_ms() - HOUR_MS * 3 // 2)
    assert (answer.code, answer.epoch()["lost"], answer.epoch()["first"]) == (1, [[7, 7]], 5)
    answer = log.verify(since_ms=unix_ms() - HOUR_MS // 2)
    assert (answer.code, answer.session("a")["verdict"], answer.epoch()["records"]) == (0, "expired", 0)


def test_new_epochs_and_gaps_of_the_server_are_not_losses(kafka: str, namespace: str) -> None:
    """Numbers above the end of an epoch are superseded."""
    log = Log(kafka, namespace).events(1, 2, 3, 5)
    log.lifecycle_event(
        LifecycleEvent("gap", "evicted", "The server forgot some.", "3", "9", 5), 3, new_epoch=EPOCH + 9
    )
    log.lifecycle_event(
        LifecycleEvent("gap", "evicted", "The server forgot some.", "3", "9", 5), 3, new_epoch=EPOCH + 9
    )
    log.events(1, 2, epoch=EPOCH + 9).position(2, epoch=EPOCH + 9)
    log.lifecycle_event(LifecycleEvent("unresumable", "no ids", "It sends no ids."), 2, EPOCH + 9)
    answer = log.verify()
    assert (answer.code, answer.session("a")["verdict"]) == (0, "complete")
    assert answer.session("a")["gaps"] == {"gap": 1, "unresumable": 1, "missing": 5, "unknown": 1}
    old, new = answer.session("a")["epochs"]
    assert (old["required"], old["superseded"], old["in_flight"]) == (3, 1, 0)
    assert (new["epoch"], new["stated"], new["complete"]) == (EPOCH + 9, 2, True)
    assert any("unresumable" in sentence for sentence in answer.document["cannot_see"])


def test_routes_replays_and_foreign_records_are_recognised(kafka: str, namespace: str) -> None:
    """Routed topics are read, replayed records are not repeats, foreign records are counted."""
    log = Log(kafka, namespace, "structured", "tools").events(1, 4).events(2, topic="tools").dead(3)
    log.dead(3, replayed=True).position(4)
    log._put("events", SessionKey("local", "a"), b"not ours", [])
    route = {"match": "tool_*", "topic": f"{namespace}.tools"}
    answer = log.verify(more={"topics.routes": [route]})
    assert answer.code == 0
    assert (answer.session("a")["replayed"], answer.document["totals"]["repeats"]) == (1, 0)
    assert answer.document["totals"]["foreign"] == 1
    assert log.verify().epoch()["lost"] == [[2, 2]]


def test_what_a_daemon_writes_is_complete(kafka: str, namespace: str, tmp_path: Path) -> None:
    """After kill -9, with dead letters and routes, and while the daemon runs."""
    routes = [{"match": "tool_*", "topic": f"{namespace}.tools"}]
    feed = Feed(2000)
    with scripted_mix() as mix:
        mix.list("a", "b")
        odd = [block("6", "content", "{"), block("7", "tool_of_tomorrow", "{}")]
        mix.streams = {"a": feed, "b": stream(*contents(1, 2, 3, 4, 5), *odd, *contents(8))}
        chosen = settings(kafka, namespace, mix.url, {"topics.routes": routes, "delivery.checkpoint_interval": "1s"})
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 300)
            bridge.kill()
            bridge.start()
            feed.add(3000)
            running = verify(kafka, namespace, more={"topics.routes": routes})
            wait_acknowledged(bridge, "a", 5000)
            wait_acknowledged(bridge, "b", 8)
    stopped = verify(kafka, namespace, more={"topics.routes": routes})
    for answer in (running, stopped):
        assert (answer.code, answer.document["verdict"]) == (0, "complete"), answer.document
    assert (stopped.epoch("a")["last"], stopped.epoch("a")["stated"]) == (5000, 5000)
    assert (stopped.epoch("b")["last"], stopped.epoch("b")["records"] - stopped.epoch("b")["repeats"]) == (8, 8)
    assert {one["name"]: one["records"] for one in stopped.document["topics"]}[f"{namespace}.tools"] >= 1


def test_the_command_prints_one_document(kafka: str, namespace: str) -> None:
    """With exit code 1 after a loss, and nothing on stderr."""
    log = Log(kafka, namespace).events(1, 3).position(3).events(1, session="b").written()
    chosen = access_settings(log.kafka, namespace)
    done = command(["verify", "--json", "--since", "24h"], chosen)
    assert (done.returncode, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert document["verdict"] == "loss"
    assert set(document) == {"verdict", "totals", "sessions", "topics", "cannot_see"}
    assert command(["verify", "--session", "local/b"], chosen).returncode == 0
    assert command(["verify", "--session", "local/\udcff"], chosen).returncode == 1  # the shell passes any bytes


def test_an_unreachable_kafka_and_missing_topics_have_their_own_exit_codes(kafka: str, namespace: str) -> None:
    """With a misspelt namespace nothing is read, so nothing is complete."""
    away = command(["verify"], access_settings("127.0.0.1:9", namespace))
    assert (away.returncode, away.stdout) == (69, "")
    assert "no program listens there" in away.stderr
    empty = command(["verify"], access_settings(kafka, namespace))
    assert (empty.returncode, empty.stdout) == (78, "")
    assert f"{namespace}.events" in empty.stderr


def test_a_terminal_shows_a_bar_and_a_table_without_foreign_control_characters(kafka: str, namespace: str) -> None:
    """Session ids are text of other programs."""
    trap = "x\x1b]0;renamed\x07\u202e"
    log = Log(kafka, namespace).events(1, 3, session=trap).position(3, session=trap).written()
    log.events(1, 2).written()
    seen = on_terminal(["verify"], access_settings(kafka, namespace))
    assert "\x1b]0;" not in seen
    assert "\u202e" not in seen
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    assert "x\\x1b]0;renamed\\x07\\u202e" in plain.replace("\n", "")
    assert "reading events" in plain
    assert "LOSS in 1 session" in plain
    assert "lost 2" in plain
    rows = [line for line in plain.splitlines() if line.startswith(("VERDICT", "LOSS ", "complete "))]
    assert len(rows) == 4
    assert all(len(line) <= 80 for line in rows)


def test_without_a_terminal_there_is_no_bar(kafka: str, namespace: str) -> None:
    """The table goes to stdout, and stderr is empty."""
    log = Log(kafka, namespace).events(1, 2).position(2).written()
    done = command(["verify"], access_settings(log.kafka, namespace))
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete: nothing is lost (1 session, 2 records)" in done.stdout
    assert "\x1b" not in done.stdout
