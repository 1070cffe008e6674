"""Changing ``delivery.guarantee``: a rolling change is refused; stop all, start all loses and repeats nothing."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from bridge.clock import unix_ms
from bridge.core.records.claim import CLAIM_KEY
from bridge.delivery.lease import Lease
from bridge.delivery.transactional_id import TransactionFence
from bridge.kafka.client import Outgoing
from bridge.kafka.producer import ProducerSettings
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts, Verdict
from bridge.settings.naming import transactional_id
from tests.fakes.membership import SoleOwner
from tests.support.lifecycle import lifecycle
from tests.support.process import Bridge, command
from tests.support.scene import events, settings, texts, wait_accepted, wait_acknowledged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic, read_topic
from tests.support.waiting import TIMEOUT

AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"


@pytest.mark.parametrize(("before", "after"), [(AT_LEAST_ONCE, EXACTLY_ONCE), (EXACTLY_ONCE, AT_LEAST_ONCE)])
def test_a_rolling_change_is_refused_and_a_stop_of_all_replicas_changes_the_guarantee(
    kafka: str, namespace: str, tmp_path: Path, before: str, after: str
) -> None:
    """The running replica continues; ``check`` names it; afterwards the session continues in a new epoch."""
    feed = Feed(3)
    with scripted_mix({"s": feed}) as mix:
        more = {"delivery.guarantee": before, "topics.shards": 1}
        chosen = settings(kafka, namespace, mix.url, more)
        del chosen["instance"]  # the other replica has its own name
        with Bridge(tmp_path / "running", chosen).start() as running:
            wait_acknowledged(running, "s", 3)
            changed = chosen | {"delivery.guarantee": after}
            newer = Bridge(tmp_path / "newer", changed).start(wait=False)
            checked = command(["check", "--json"], changed)
            assert newer.wait(TIMEOUT) == os.EX_CONFIG
            said = newer.log_text() + newer.stdout.read_text()
            for part in (f"it is {after} here", f"namespace {namespace} has {before}", "stop all replicas"):
                assert part in said, said[-3000:]
            lines = {line["subject"]: line for line in json.loads(checked.stdout)["checks"]}
            assert lines["replicas"]["state"] == "failed"
            assert f"({before})" in lines["replicas"]["detail"]
            feed.add(2)
            wait_acknowledged(running, "s", 5)
            assert running.get("/readyz").status == 200
            assert running.terminate() == 0
        with newer.start() as newer:
            feed.add(2)
            wait_accepted(kafka, namespace, "s", 7)
            assert newer.terminate() == 0
    assert texts(kafka, namespace, "s") == [str(number) for number in range(1, 8)]
    (resumed,) = [one for one in lifecycle(kafka, namespace, "s") if one.kind == "resumed" and one.new_epoch]
    assert resumed.reason == "settings_changed"
    claims = [
        json.loads(each.value or b"") for each in events(kafka, namespace, "checkpoints") if each.key == CLAIM_KEY
    ]
    expected = [(before, False), (after, False)] + [(after, True)] * (after == AT_LEAST_ONCE)
    assert [(each["guarantee"], each["fenced"]) for each in claims] == expected


def test_a_paused_transaction_cannot_be_committed_once_at_least_once_has_fenced_it(kafka: str, namespace: str) -> None:
    """Otherwise its records would appear behind those of the new owner, and its checkpoint would replace theirs."""
    topic, timeouts = f"{namespace}.events", TransactionTimeouts()
    create_topic(kafka, topic)
    config = {"bootstrap.servers": kafka}
    paused = TransactionalProducer(ProducerSettings(config, 100_000), transactional_id(namespace, 0), timeouts)
    assert paused.init(TIMEOUT) is Verdict.DONE
    paused.begin()
    paused.produce(Outgoing(topic, b"local/s", b"late", [], unix_ms()), lambda _error, _message: None)
    assert paused.flush(TIMEOUT) == 0
    fenced, lease = threading.Event(), Lease(0, SoleOwner())
    TransactionFence(config, namespace).fence(lease, fenced.set)
    assert fenced.wait(TIMEOUT)
    assert paused.commit(TIMEOUT) is Verdict.FENCED
    paused.abandon()
    assert read_topic(kafka, topic) == []
