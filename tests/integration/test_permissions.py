"""Brokers that do not allow everything: ``check`` and ``run`` (exit code 78 or 69) say what to change."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from tests.support.broker import Broker, quiet_admin
from tests.support.process import command
from tests.support.refusing_proxy import INIT_PRODUCER_ID, refusing_proxy
from tests.support.repository import REPOSITORY
from tests.support.scene import bridged, settings, texts, wait_acknowledged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic
from tests.support.waiting import TIMEOUT, wait_until

pytestmark = pytest.mark.kafka

EXACTLY_ONCE = {"delivery.guarantee": "exactly_once", "http.port": 0}
COMPACTED = {"cleanup.policy": "compact"}
UNUSED = "http://127.0.0.1:9"
PASSWORD = "secret-of-the-user"

_ARGUMENTS = {
    "--topic": ResourceType.TOPIC,
    "--group": ResourceType.GROUP,
    "--transactional-id": ResourceType.TRANSACTIONAL_ID,
}


def documented_rules() -> dict[ResourceType, list[AclBinding]]:
    """Return the ACLs of the documented commands, by resource type."""
    lines = (REPOSITORY / "docs/security.md").read_text().splitlines()
    rules: dict[ResourceType, list[AclBinding]] = {}
    for line in [line for line in lines if line.startswith("kafka-acls.sh")]:
        words = shlex.split(line)
        kind = next(kind for word, kind in _ARGUMENTS.items() if word in words)
        name = next(words[words.index(word) + 1] for word in _ARGUMENTS if word in words)
        user = words[words.index("--allow-principal") + 1]
        how = ResourcePatternType.PREFIXED if "prefixed" in words else ResourcePatternType.LITERAL
        for at, word in enumerate(words):
            if word == "--operation":
                operation = AclOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", words[at + 1]).upper()]
                rule = AclBinding(kind, name, how, user, "*", operation, AclPermissionType.ALLOW)
                rules.setdefault(kind, []).append(rule)
    return rules


@contextmanager
def guarded(folder: Path) -> Iterator[tuple[Broker, dict[str, object]]]:
    """Start a broker that allows nothing without an ACL; yield it and the settings of a user."""
    login = "org.apache.kafka.common.security.plain.PlainLoginModule"
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{login} required user_mix-bridge="{PASSWORD}";',
    }
    with Broker(folder, properties=properties, listeners=("SASL_PLAINTEXT",), heap="384m") as broker:
        yield (
            broker,
            {
                "kafka.bootstrap_servers": broker.bootstrap_of("SASL_PLAINTEXT"),
                "kafka.security_protocol": "sasl_plaintext",
                "kafka.sasl_mechanism": "PLAIN",
                "kafka.sasl_username": "mix-bridge",
                "kafka.sasl_password": PASSWORD,
            },
        )


def allow(broker: Broker, rules: list[AclBinding]) -> None:
    """Add ACLs."""
    admin = quiet_admin(broker.bootstrap)  # a variable: a client without references cancels its requests
    for added in admin.create_acls(rules).values():
        added.result(TIMEOUT)


def lines_of(given: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Return the lines of ``check``, by subject."""
    done = command(["check", "--json"], given)
    assert done.stdout, done.stderr
    return {line["subject"]: line for line in json.loads(done.stdout)["checks"]}


def refused(given: Mapping[str, object]) -> tuple[int, str]:
    """Return the exit code of a start, and its last line."""
    done = command(["run"], given)
    return done.returncode, done.stderr.splitlines()[-1]


def test_each_missing_permission_is_reported_and_the_documented_ones_suffice(tmp_path: Path) -> None:
    """By ``check``, and by ``run`` with 78; with the documented ACLs everything is bridged."""
    rules = documented_rules()
    with guarded(tmp_path / "kafka") as (broker, login), scripted_mix() as mix, ThreadPoolExecutor() as together:
        mix.serve({"a": Feed(20)})
        given = settings("", "mix", mix.url, login | EXACTLY_ONCE | {"start_timeout": "30s"})
        allow(broker, rules[ResourceType.TOPIC])
        checked, ended = together.submit(lines_of, given), together.submit(refused, given)
        group, transactions = (checked.result()[subject] for subject in ("group mix.bridge", "transactions"))
        assert [line["state"] for line in (group, transactions)] == ["failed", "failed"]
        assert "grant READ on" in group["detail"] + group["hint"]
        assert "grant WRITE and DESCRIBE on all transactional ids that begin with mix.bridge." in transactions["hint"]
        code, last = ended.result()
        assert (code, last.split(": ")[0]) == (os.EX_CONFIG, "delivery.guarantee")
        assert "grant WRITE and DESCRIBE on all transactional ids" in last
        allow(broker, rules[ResourceType.TRANSACTIONAL_ID])
        code, last = refused(given)
        assert (code, last.split(": ")[0]) == (os.EX_CONFIG, "namespace")
        assert "grant READ on" in last
        done = command(["checkpoints", "set", "local/x", "--last-event-id", "1"], given)
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            "is running: not allowed to use the consumer group mix.bridge; grant READ on group mix.bridge"
            in done.stderr
        )
        allow(broker, rules[ResourceType.GROUP])
        with bridged(tmp_path, given) as bridge:
            wait_acknowledged(bridge, "a", 20)
            assert [line for line in lines_of(given).values() if line["state"] == "failed"] == []
        assert len(texts(broker.bootstrap, "mix", "a")) == 20


def test_brokers_whose_settings_allow_no_transactions_are_reported(tmp_path: Path) -> None:
    """Without a coordinator 69, because that can be temporary; with too short transactions 78."""
    properties = {"transaction.state.log.replication.factor": "3", "transaction.max.timeout.ms": "59999"}
    with Broker(tmp_path / "kafka", properties=properties) as broker, ThreadPoolExecutor() as together:
        given = settings(broker.bootstrap, "mix", UNUSED, EXACTLY_ONCE | {"start_timeout": "1s"})
        checked, ended = together.submit(lines_of, given), together.submit(refused, given)
        line = checked.result()["transactions"]
        assert (line["state"], "transaction.state.log.replication.factor is 3" in line["detail"]) == ("failed", True)
        code, last = ended.result()
        assert code == os.EX_UNAVAILABLE
        assert "transaction.state.log.replication.factor" in last
        create_topic(broker.bootstrap, "__transaction_state", 3, COMPACTED, replicas=1)
        code, last = refused(given)
        assert (code, last.split(": ")[0]) == (os.EX_CONFIG, "delivery.guarantee")
        assert "transaction.max.timeout.ms is less than" in last
        assert "set it to 60000 or more on every broker" in last


def test_brokers_without_transactions_are_reported(kafka: str, namespace: str) -> None:
    """With 78 for the guarantee."""
    with refusing_proxy(kafka, lambda _topic, _records: 0, {INIT_PRODUCER_ID}) as broker, ThreadPoolExecutor() as both:
        given = settings(broker, namespace, UNUSED, EXACTLY_ONCE)
        checked, ended = both.submit(lines_of, given), both.submit(refused, given)
        line = checked.result()["transactions"]
        assert (line["state"], "have no transactions" in line["detail"]) == ("failed", True)
        code, last = ended.result()
        assert (code, last.split(": ")[0]) == (os.EX_CONFIG, "delivery.guarantee")
        assert last.endswith("use brokers that have them, or set delivery.guarantee = at_least_once")


def test_a_group_of_other_consumers_is_reported(kafka: str, namespace: str) -> None:
    """A member with another topic: 78 for the namespace, and that member is not disturbed."""
    create_topic(kafka, f"{namespace}.others", 1)
    other = Consumer({"bootstrap.servers": kafka, "group.id": f"{namespace}.bridge", "session.timeout.ms": 6000})
    try:
        other.subscribe([f"{namespace}.others"])
        wait_until(lambda: other.poll(0.1) is None and bool(other.assignment()), 20, "the other's partition")
        given = settings(kafka, namespace, UNUSED, {"http.port": 0})
        with ThreadPoolExecutor() as together:
            checked, ended = together.submit(lines_of, given), together.submit(refused, given)
            wait_until(lambda: other.poll(0.1) is None and checked.done() and ended.done(), 60, "both")
        line = checked.result()[f"group {namespace}.bridge"]
        assert (line["state"], f"{namespace}.others" in line["detail"]) == ("failed", True)
        assert "namespace" in line["hint"]
        code, last = ended.result()
        assert (code, last.split(": ")[0]) == (os.EX_CONFIG, "namespace")
        assert other.assignment()
    finally:
        other.close()


def test_replicas_with_other_servers_are_reported(kafka: str, namespace: str, tmp_path: Path) -> None:
    """From the replica's committed metadata; the spelling of a URL does not matter."""
    with scripted_mix() as mix, bridged(tmp_path, settings(kafka, namespace, mix.url, {})) as bridge:
        bridge.wait_ready()
        same = settings(kafka, namespace, f"{mix.url}/", {"http.port": 0})
        more = same | {"servers.more.url": UNUSED}
        with ThreadPoolExecutor() as together:
            found, differing = together.map(lines_of, (same, more))
        assert (found["replicas"]["state"], differing["replicas"]["state"]) == ("ok", "failed")
        assert str(bridge.pid) in differing["replicas"]["detail"]
        assert "servers.<name>.url" in differing["replicas"]["hint"]
