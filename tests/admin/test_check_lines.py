"""The lines of ``mix-bridge check``: state, detail and hint of each, how they come, and their parts."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError

from bridge.admin.check import lines as checks
from bridge.admin.check.checkup import _lines_until
from bridge.admin.check.line import ALL, Line, Part, State, chosen, is_wanted, line_of, passed
from bridge.admin.check.offline import expiring
from bridge.admin.waits import Work
from bridge.clock import Deadline
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import Mistake, SettingsError, Unreachable
from bridge.kafka.brokers import BrokerLimits, transactions_refused
from bridge.kafka.connection_failures import ConnectionFailure, NotReached
from bridge.kafka.group import GroupDescription, GroupMember
from bridge.kafka.topics import TopicDescription, TopicPlan, plan
from bridge.mix.sessions import NoList, ServerUnavailable
from bridge.settings import Settings, load
from bridge.settings.naming import servers_fingerprint
from tests.support.waiting import TIMEOUT

CONFIG = {"cleanup.policy": "delete", "max.message.bytes": "1048588"}
COMPACTED = {"cleanup.policy": "compact"}
HIDDEN = object()
"""A topic that the bridge may not describe."""
OK, WARNING, FAILED = State


def allowing(*operations: str, of: dict[str, str] = CONFIG) -> TopicDescription:
    return TopicDescription(8, of, operations=frozenset(operations))


SMALL = TopicDescription(8, CONFIG | {"max.message.bytes": "9"})


def settings(**more: Any) -> Settings:
    given = {"servers.local.url": "http://me:hunter2@mix:8088", "kafka.bootstrap_servers": "k:9092"}
    return load(given | {key.replace("__", "."): value for key, value in more.items()}, {})


def planned(key: str, of: Settings) -> TopicPlan:
    return next(each for each in plan(of) if each.key == key)


@pytest.mark.parametrize("connection_failure", ConnectionFailure)
def test_every_connection_failure_has_a_hint(connection_failure) -> None:
    line = checks.kafka_unreachable(NotReached(connection_failure, "detail"))
    assert (line.state, line.detail) == (FAILED, "detail")
    assert line.hint


@pytest.mark.parametrize(
    ("key", "topic", "state", "words", "hint"),
    [
        ("events", TopicDescription(8, CONFIG), OK, "8 partitions, cleanup.policy=delete", None),
        ("events", TopicDescription(1, CONFIG, operations=frozenset({"WRITE"})), OK, "1 partition,", None),
        ("events", allowing("READ"), FAILED, "may not write", "grant WRITE"),
        ("events", TopicDescription(8, COMPACTED), FAILED, "events are lost", "cleanup.policy=delete"),
        ("events", SMALL, WARNING, "dead letter", "raise max.message.bytes"),
        ("events", TopicDescription(8, None), FAILED, "may not read its settings", "grant DescribeConfigs"),
        ("events", HIDDEN, FAILED, "may not describe it", "topics.events"),
        ("events", None, OK, "8 partitions and the brokers' number of replicas", None),
        ("events", "POLICY_VIOLATION: no", FAILED, "POLICY_VIOLATION", "topics.config"),
        ("lifecycle", allowing("WRITE"), OK, "8 partitions,", None),
        ("lifecycle", allowing(), FAILED, "may not write", "grant WRITE"),
        ("lifecycle", TopicDescription(8, COMPACTED), FAILED, "lifecycle records are lost", "cleanup.policy=delete"),
        ("lifecycle", SMALL, FAILED, "accepts at most", "raise it"),
        ("checkpoints", TopicDescription(8, COMPACTED), OK, "8 partitions, cleanup.policy=compact", None),
        ("checkpoints", TopicDescription(2, COMPACTED), WARNING, "has 2 partitions", "topics.shards = 2"),
        ("checkpoints", TopicDescription(8, CONFIG), FAILED, "positions are lost", "cleanup.policy=compact"),
        (
            "checkpoints",
            allowing("DESCRIBE", of=COMPACTED),
            FAILED,
            "may not read and write it",
            "grant READ and WRITE",
        ),
    ],
)
def test_a_topic_is_judged(key, topic, state, words, hint) -> None:
    """As a start does, and stricter where the bridge may not read the topic's settings. A text: Kafka's objection."""
    given = settings()
    plan = planned(f"topics.{key}", given)
    objections = {plan.name: topic} if isinstance(topic, str) else {}
    found = {} if topic is HIDDEN else {plan.name: None if objections else topic}
    line = checks.topic_line(plan, found, objections, given)
    assert line.state is state
    assert words in line.detail
    assert (line.hint is None) if hint is None else (hint in str(line.hint))


def test_a_missing_topic_fails_when_none_may_be_created() -> None:
    given = settings(topics__create=False)
    line = checks.topic_line(planned("topics.events", given), {"mix.events": None}, {}, given)
    assert line.state is FAILED
    assert "topics.create = true" in str(line.hint)


def caused(error: Exception, cause: Exception | None) -> Exception:
    """The error as it is raised ``from`` its cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (caused(ServerUnavailable("x"), ConnectionRefusedError()), "start the server"),
        (caused(ServerUnavailable("x"), socket.gaierror()), "cannot resolve the host name"),
        (caused(ServerUnavailable("x"), ssl.SSLCertVerificationError()), "servers.local.ca_file"),
        (caused(ServerUnavailable("x"), TimeoutError()), "firewall"),
        (caused(ServerUnavailable("x"), FileNotFoundError()), "servers.local.token_file"),
        (PermissionError(), "servers.local.token_file"),
        (ServerUnavailable("x", answered=True, status=401), "servers.local.token"),
        (ServerUnavailable("x", answered=True, status=404), "is this a Mix agent server"),
        (ServerUnavailable("x", answered=True), "is this a Mix agent server"),
        (NoList("x", answered=True), "name them (`--session ID`, `servers.local.sessions`)"),
        (ServerUnavailable("x"), "whether the server runs"),
        (OSError("?"), "whether the server runs"),
    ],
)
def test_a_server_that_does_not_answer_has_a_hint_by_its_cause(error, hint) -> None:
    """The innermost error decides the hint; the URL is shown without credentials."""
    line = checks.server_unreachable("local", settings(), "detail", error)
    assert line.state is FAILED
    assert hint in str(line.hint)
    assert line.detail == "http://mix:8088: detail"


def test_a_failed_list_is_a_warning_beside_configured_sessions() -> None:
    """An unreachable server is not."""
    given = settings(servers__local__sessions=["a", "b"])
    odd = checks.server_unreachable("local", given, "detail", ServerUnavailable("x", answered=True))
    assert (odd.state, "2 configured sessions" in odd.detail) == (WARNING, True)
    assert "servers.local.discover = false" in str(odd.hint)
    assert checks.server_unreachable("local", given, "detail", ServerUnavailable("x")).state is FAILED


def test_more_sessions_than_allowed_and_odd_entries_are_warnings() -> None:
    given = settings(servers__local__max_sessions=2)
    assert checks.server_answers("local", given, 5, 2, None).state is OK
    many = checks.server_answers("local", given, 5, 3, None)
    assert (many.state, "servers.local.max_sessions" in str(many.hint)) == (WARNING, True)
    odd = checks.server_answers("local", given, 1, 1, "1 of 2 listed sessions skipped")
    assert (odd.state, "1 of 2 listed sessions skipped" in odd.detail) == (WARNING, True)


def test_behind_a_proxy_only_the_proxy_is_reported() -> None:
    """The check connected to nothing else."""
    given = settings(servers__local__proxy="http://me:hunter2@proxy:3128", servers__local__sessions=["a"])
    line = checks.server_connects("local", given)
    assert "the proxy http://proxy:3128 accepts connections" in line.detail
    assert "hunter2" not in line.detail


def test_a_mistake_is_split_into_detail_and_hint() -> None:
    """After the last semicolon it says what to do."""
    line = line_of("http", Mistake("http.port", "a; b; c"), "a; b; c")
    assert (line.detail, line.hint) == ("a; b", "c (http.port)")
    line = line_of("http", Mistake("http.port", "a"), "a")
    assert (line.detail, line.hint) == ("a", "see http.port")


NO_LIMITS = BrokerLimits(0, {})
READ = frozenset({"READ", "DESCRIBE"})


def member(*shards: int, topic: str = "mix.checkpoints") -> GroupMember:
    return GroupMember("id", "10.0.0.7", frozenset(shards), frozenset([topic] if shards else []))


def group(*members: GroupMember, allowed: frozenset[str] | None = READ) -> GroupDescription:
    return GroupDescription(members, operations=allowed)


def member_metadata(run: str, servers: str, *, has_left: bool = False) -> MemberMetadata:
    """Return what an owner committed."""
    return MemberMetadata(f"host:{run}", None, run, servers, "2.0.0", has_left=has_left)


def test_a_group_without_members_is_fine() -> None:
    """A replica could join; where Kafka does not say what is allowed, the start finds out."""
    for allowed in (READ, None):
        line = checks.group_line(settings(), group(allowed=allowed), NO_LIMITS)
        assert (line.subject, line.state) == ("group mix.bridge", OK)
        assert line.detail == "the bridge may join it; no replica runs"


def test_the_members_are_counted() -> None:
    assert checks.group_line(settings(), group(member(0)), NO_LIMITS).detail.endswith("; 1 replica runs")
    assert checks.group_line(settings(), group(member(0), member()), NO_LIMITS).detail.endswith("; 2 replicas run")


def test_a_group_that_the_bridge_may_only_describe_fails() -> None:
    """Describing a group and joining it are two permissions."""
    line = checks.group_line(settings(), group(allowed=frozenset({"DESCRIBE"})), NO_LIMITS)
    assert (line.state, line.hint) == (FAILED, "grant READ on it (namespace)")


def test_a_group_of_other_consumers_fails() -> None:
    """The line names their topics and the setting to change."""
    line = checks.group_line(settings(), group(member(0, topic="own.checkpoints")), NO_LIMITS)
    assert (line.state, "own.checkpoints" in line.detail) == (FAILED, True)
    assert str(line.hint).endswith("(namespace)")


@pytest.mark.parametrize(("seconds", "state"), [("9s", FAILED), ("10s", OK), ("31s", FAILED)])
def test_a_session_time_out_that_the_brokers_do_not_allow_fails(seconds: str, state: State) -> None:
    """Where the bridge may read the brokers' settings."""
    limits = BrokerLimits(3, {"group.min.session.timeout.ms": 10_000, "group.max.session.timeout.ms": 30_000})
    chosen = settings(**{"kafka.group_session_timeout": seconds})
    line = checks.group_line(chosen, group(), limits)
    assert line.state is state
    assert ("choose 10000 to 30000 ms" in str(line.hint)) is (state is FAILED)
    assert checks.group_line(chosen, group(), NO_LIMITS).state is OK


def test_replicas_with_the_same_servers_are_fine() -> None:
    """There is no line when no replica is known to run."""
    ours = servers_fingerprint(settings())
    line = checks.replicas_line(
        settings(), [member(0, 1), member(2)], {0: member_metadata("1", ours), 2: member_metadata("2", ours)}
    )
    assert line is not None
    assert (line.state, line.detail) == (OK, "with these servers: host:1 (version 2.0.0), host:2 (version 2.0.0)")
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
    assert (line.state, line.detail.count("host:1")) == (FAILED, 1)
    assert "host:2" not in line.detail
    assert "servers.<name>.url" in str(line.hint)


def test_the_metadata_of_ended_replicas_is_ignored() -> None:
    """Of a shard without an owner, and of a replica that has left."""
    members_metadata = {0: member_metadata("1", "others", has_left=True), 1: member_metadata("2", "others")}
    assert checks.replicas_line(settings(), [member(0)], members_metadata) is None


def test_transactions_that_may_begin_are_fine() -> None:
    """The line shows the ids that an ACL must cover."""
    line = checks.transactions_allowed(settings())
    assert (line.state, "mix.bridge.<shard>" in line.detail) == (OK, True)


@pytest.mark.parametrize(
    "code", [KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError._UNSUPPORTED_FEATURE, KafkaError._TIMED_OUT]
)
def test_transactions_that_may_not_begin_fail_with_a_hint(code: int) -> None:
    line = checks.transactions_refused(transactions_refused(KafkaError(code), "mix.bridge.check"), NO_LIMITS)
    assert (line.subject, line.state) == ("transactions", FAILED)
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
    assert (line.subject, line.state) == ("group mix.bridge", FAILED)
    assert line.detail
    assert line.hint


DAY = 86_400


def line(subject: str, state: State = OK) -> Line:
    return Line(subject, state, "")


@pytest.mark.parametrize(
    ("subject", "part"),
    [
        ("settings", Part.SETTINGS),
        ("files", Part.FILES),
        ("kafka", Part.KAFKA),
        ("topic mix.events", Part.TOPICS),
        ("group mix.bridge", Part.GROUP),
        ("replicas", Part.GROUP),
        ("transactions", Part.TRANSACTIONS),
        ("server local", Part.SERVERS),
        ("clock", Part.SERVERS),
        ("http", Part.HTTP),
    ],
)
def test_a_line_belongs_to_one_part(subject: str, part: Part) -> None:
    """Chosen alone it is shown, and without it it is not."""
    assert is_wanted(line(subject), {part})
    assert not is_wanted(line(subject), ALL - {part})


def test_an_unreachable_kafka_fails_every_part_that_needs_it() -> None:
    """Otherwise ``--only topics`` would succeed without a look at any topic."""
    assert is_wanted(line("kafka", FAILED), {Part.TOPICS})
    assert not is_wanted(line("kafka", FAILED), {Part.HTTP})


def test_names_are_parsed() -> None:
    """Spaces do not matter; an empty name is none."""
    assert chosen("kafka, topics") == {Part.KAFKA, Part.TOPICS}
    with pytest.raises(ValueError, match="allowed: settings, files"):
        chosen("kafka,")


@pytest.mark.parametrize(("days", "said"), [(15, []), (13, ["expires in 13 days"]), (-1, ["has expired"])])
def test_a_certificate_is_reported_two_weeks_before(days: int, said: list[str]) -> None:
    """As the running bridge does; it names the key."""
    found = list(expiring({"kafka.ssl_cert_file": 1000 + days * DAY}, 1000))
    assert [each.detail.removeprefix("a certificate ") for each in found] == said
    assert all(each.state is WARNING and "kafka.ssl_cert_file" in (each.hint or "") for each in found)


def test_strict_counts_warnings() -> None:
    assert passed([line("kafka"), line("clock", WARNING)])
    assert not passed([line("kafka"), line("clock", WARNING)], strict=True)
    assert not passed([line("kafka", FAILED)])


def test_a_check_that_hangs_keeps_its_first_lines() -> None:
    """One more line reports the time-out; the thread is abandoned."""
    freed, found = threading.Event(), Line("kafka", OK, "answers")

    def run() -> Iterator[Line]:
        yield found
        freed.wait(TIMEOUT)

    running = Work("check kafka", run)
    try:
        first, late = _lines_until(Deadline.after(0.2), "kafka", running)
    finally:
        freed.set()
    assert first == found
    assert (late.subject, late.state, late.detail.startswith("no answer within")) == ("kafka", FAILED, True)
    assert _lines_until(Deadline.after(10), "kafka", running) == [found]
