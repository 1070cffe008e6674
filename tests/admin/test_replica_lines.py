"""The lines of ``mix-bridge check`` about the group, the running replicas and transactions."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from bridge.admin.check import lines as checks
from bridge.admin.check.line import State
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.broker_limits import BrokerLimits, transactions_refused
from bridge.kafka.group import GroupDescription, GroupMember
from bridge.settings import Settings
from bridge.settings.naming import servers_fingerprint
from tests.support.settings_sources import loaded

NO_LIMITS = BrokerLimits(0, {})
READ = frozenset({"READ", "DESCRIBE"})


def settings(**more: Any) -> Settings:
    """Settings for one server."""
    return loaded(set={"servers.local.url": "http://mix:8088", "kafka.bootstrap_servers": "k:9092"} | more)


def member(*shards: int, topic: str = "mix.checkpoints") -> GroupMember:
    """Return a member of the group."""
    return GroupMember("id", "10.0.0.7", frozenset(shards), frozenset([topic] if shards else []))


def group(*members: GroupMember, allowed: frozenset[str] | None = READ) -> GroupDescription:
    """Return a group."""
    return GroupDescription(members, operations=allowed)


def member_metadata(run: str, servers: str, *, has_left: bool = False) -> MemberMetadata:
    """Return what an owner committed."""
    return MemberMetadata(f"host:{run}", None, run, servers, "2.0.0", has_left=has_left)


def test_a_group_without_members_is_fine() -> None:
    """A replica could join; where Kafka does not say what is allowed, the start finds out."""
    for allowed in (READ, None):
        line = checks.group_line(settings(), group(allowed=allowed), NO_LIMITS)
        assert (line.subject, line.state) == ("group mix.bridge", State.OK)
        assert line.detail == "the bridge may join it; no replica runs"


def test_the_members_are_counted() -> None:
    """The line about their servers names them."""
    assert checks.group_line(settings(), group(member(0)), NO_LIMITS).detail.endswith("; 1 replica runs")
    assert checks.group_line(settings(), group(member(0), member()), NO_LIMITS).detail.endswith("; 2 replicas run")


def test_a_group_that_the_bridge_may_only_describe_fails() -> None:
    """Describing a group and joining it are two permissions."""
    line = checks.group_line(settings(), group(allowed=frozenset({"DESCRIBE"})), NO_LIMITS)
    assert (line.state, line.hint) == (State.FAILED, "grant READ on it (namespace)")


def test_a_group_of_other_consumers_fails() -> None:
    """The line names their topics and the setting to change."""
    line = checks.group_line(settings(), group(member(0, topic="own.checkpoints")), NO_LIMITS)
    assert (line.state, "own.checkpoints" in line.detail) == (State.FAILED, True)
    assert str(line.hint).endswith("(namespace)")


@pytest.mark.parametrize(("seconds", "state"), [("9s", State.FAILED), ("10s", State.OK), ("31s", State.FAILED)])
def test_a_session_time_out_that_the_brokers_do_not_allow_fails(seconds: str, state: State) -> None:
    """Where the bridge may read the brokers' settings."""
    limits = BrokerLimits(3, {"group.min.session.timeout.ms": 10_000, "group.max.session.timeout.ms": 30_000})
    chosen = settings(**{"kafka.group_session_timeout": seconds})
    line = checks.group_line(chosen, group(), limits)
    assert line.state is state
    assert ("choose 10000 to 30000 ms" in str(line.hint)) is (state is State.FAILED)
    assert checks.group_line(chosen, group(), NO_LIMITS).state is State.OK


def test_replicas_with_the_same_servers_are_fine() -> None:
    """There is no line when no replica is known to run."""
    ours = servers_fingerprint(settings())
    line = checks.replicas_line(
        settings(), [member(0, 1), member(2)], {0: member_metadata("1", ours), 2: member_metadata("2", ours)}
    )
    assert line is not None
    assert (line.state, line.detail) == (State.OK, "with these servers: host:1 (version 2.0.0), host:2 (version 2.0.0)")
    assert checks.replicas_line(settings(), [member(0)], {}) is None


def test_a_replica_with_other_servers_fails() -> None:
    """It is named once, however many shards it owns."""
    ours = servers_fingerprint(settings())
    members_metadata = {
        0: member_metadata("1", "others"),
        1: member_metadata("1", "others"),
        2: member_metadata("2", ours),
    }
    line = checks.replicas_line(settings(), [member(0, 1), member(2)], members_metadata)
    assert line is not None
    assert (line.state, line.detail.count("host:1")) == (State.FAILED, 1)
    assert "host:2" not in line.detail
    assert "servers.<name>.url" in str(line.hint)


def test_the_metadata_of_ended_replicas_is_ignored() -> None:
    """Of a shard without an owner, and of a replica that has left."""
    members_metadata = {0: member_metadata("1", "others", has_left=True), 1: member_metadata("2", "others")}
    assert checks.replicas_line(settings(), [member(0)], members_metadata) is None


def test_transactions_that_may_begin_are_fine() -> None:
    """The line shows the ids that an ACL must cover."""
    line = checks.transactions_allowed(settings())
    assert (line.state, "mix.bridge.<shard>" in line.detail) == (State.OK, True)


@pytest.mark.parametrize(
    "code", [KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError._UNSUPPORTED_FEATURE, KafkaError._TIMED_OUT]
)
def test_transactions_that_may_not_begin_fail_with_a_hint(code: int) -> None:
    """Every error has one."""
    line = checks.transactions_refused(transactions_refused(KafkaError(code), "mix.bridge.check"), NO_LIMITS)
    assert (line.subject, line.state) == ("transactions", State.FAILED)
    assert line.detail
    assert line.hint


@pytest.mark.parametrize("name", ["transaction.state.log.replication.factor", "transaction.state.log.min.isr"])
def test_too_few_brokers_for_a_coordinator_are_counted(name: str) -> None:
    """Only without a coordinator: an existing one works."""
    away = transactions_refused(KafkaError(KafkaError._TIMED_OUT), "mix.bridge.check")
    line = checks.transactions_refused(away, BrokerLimits(2, {name: 3}))
    assert f"the brokers' {name} is 3, and 2 brokers run" in line.detail
    assert "add brokers" in str(line.hint)
    assert "add brokers" not in str(checks.transactions_refused(away, BrokerLimits(3, {name: 3})).hint)
    wrong = transactions_refused(KafkaError(KafkaError.INVALID_TRANSACTION_TIMEOUT), "mix.bridge.check")
    assert "60000" in str(checks.transactions_refused(wrong, BrokerLimits(2, {name: 3})).hint)


@pytest.mark.parametrize(
    "error", [Unreachable("Kafka: no answer"), SettingsError.of("namespace", "not allowed"), Unreachable("a; b")]
)
def test_a_group_that_cannot_be_described_fails(error: Unreachable | SettingsError) -> None:
    """The line has a hint, even if the error has none."""
    line = checks.refused("group mix.bridge", error)
    assert (line.subject, line.state) == ("group mix.bridge", State.FAILED)
    assert line.detail
    assert line.hint
