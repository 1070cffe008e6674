"""What ``mix-bridge check`` says: the state, the words and the hint for everything it can have seen."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from confluent_kafka import KafkaError

from bridge.admin.check import lines as checks
from bridge.admin.check.lines import Line, State
from bridge.admin.check.topics import Seen
from bridge.errors import Mistake
from bridge.kafka.connection_failures import Complaint, ConnectionFailure, connection_failure_of
from bridge.kafka.topics import Found, TopicPlan, plan
from bridge.mix.sessions import ServerUnavailable
from bridge.settings import Settings, load

CONFIG = {"cleanup.policy": "delete", "max.message.bytes": "1048588"}
COMPACTED = {"cleanup.policy": "compact"}
DOWN = Complaint(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
REFUSED = Complaint(
    KafkaError._TRANSPORT, "h:9/bootstrap: Connect failed: Connection refused (after 0ms in state CONNECT)"
)


def settings(**more: Any) -> Settings:
    """Settings for one server."""
    given = {"servers.local.url": "http://me:hunter2@mix:8088", "kafka.bootstrap_servers": "k:9092"}
    return load(given | {key.replace("__", "."): value for key, value in more.items()}, {})


def planned(key: str, of: Settings) -> TopicPlan:
    """The plan for the topic that a setting names."""
    return next(each for each in plan(of) if each.key == key)


@pytest.mark.parametrize(
    ("complaints", "connection_failure"),
    [
        ([], ConnectionFailure.SILENT),
        ([DOWN], ConnectionFailure.SILENT),
        ([REFUSED, DOWN], ConnectionFailure.REFUSED),
        ([Complaint(KafkaError._RESOLVE, "unknown"), DOWN], ConnectionFailure.NAME),
        ([Complaint(KafkaError._RESOLVE, "unknown"), REFUSED], ConnectionFailure.REFUSED),
        ([REFUSED, Complaint(KafkaError._AUTHENTICATION, "wrong password")], ConnectionFailure.LOGIN),
        ([REFUSED, Complaint(KafkaError._SSL, "certificate verify failed")], ConnectionFailure.TLS),
        ([Complaint(KafkaError._BAD_MSG, "Invalid response size 1213486160")], ConnectionFailure.PROTOCOL),
        (
            [Complaint(KafkaError._TRANSPORT, "Disconnected: connecting to a PLAINTEXT broker listener?")],
            ConnectionFailure.PROTOCOL,
        ),
        (
            [Complaint(KafkaError._TRANSPORT, "Disconnected: incorrect security.protocol configuration")],
            ConnectionFailure.PROTOCOL,
        ),
        ([Complaint(KafkaError._TRANSPORT, "Connection setup timed out in state CONNECT")], ConnectionFailure.SILENT),
        ([Complaint(KafkaError._TRANSPORT, "Network is unreachable")], ConnectionFailure.OTHER),
        ([Complaint(KafkaError.UNKNOWN, "?")], ConnectionFailure.OTHER),
    ],
)
def test_of_all_complaints_the_one_nearest_to_the_goal_is_told(complaints, connection_failure) -> None:
    """A broker that refuses a login says more than another that is away."""
    assert connection_failure_of(complaints, 5)[0] is connection_failure


def test_what_the_client_says_comes_without_its_states() -> None:
    """They are for its developers."""
    assert connection_failure_of([REFUSED, DOWN], 5)[1] == "h:9/bootstrap: Connect failed: Connection refused"
    assert connection_failure_of([DOWN], 5)[1] == "no answer within 5 s"


@pytest.mark.parametrize("connection_failure", ConnectionFailure)
def test_every_obstacle_has_a_way_round(connection_failure) -> None:
    """No failure without a hint."""
    line = checks.kafka_away(connection_failure, "detail")
    assert (line.state, line.detail) == (State.FAILED, "detail")
    assert line.hint


@pytest.mark.parametrize(
    ("key", "seen", "state", "words", "hint"),
    [
        ("events", Seen(Found(8, CONFIG)), State.OK, "8 partitions, cleanup.policy=delete", None),
        ("events", Seen(Found(1, CONFIG), allowed=frozenset({"WRITE"})), State.OK, "1 partition,", None),
        ("events", Seen(Found(8, CONFIG), allowed=frozenset({"READ"})), State.FAILED, "may not write", "grant WRITE"),
        ("events", Seen(Found(8, COMPACTED)), State.FAILED, "events are lost", "cleanup.policy=delete"),
        ("events", Seen(Found(8, CONFIG | {"max.message.bytes": "9"})), State.WARNING, "dead letter", "raise the one"),
        ("events", Seen(Found(8, None)), State.FAILED, "may not see its settings", "grant DescribeConfigs"),
        ("events", Seen(None, hidden=True), State.FAILED, "may not see it", "topics.events"),
        ("events", Seen(None), State.OK, "8 partitions and the brokers' number of replicas", None),
        ("events", Seen(None, objection="POLICY_VIOLATION: no"), State.FAILED, "POLICY_VIOLATION", "topics.config"),
        ("lifecycle", Seen(Found(8, CONFIG), allowed=frozenset({"WRITE"})), State.OK, "8 partitions,", None),
        ("lifecycle", Seen(Found(8, CONFIG), allowed=frozenset()), State.FAILED, "may not write", "grant WRITE"),
        ("lifecycle", Seen(Found(8, COMPACTED)), State.FAILED, "lifecycle records are lost", "cleanup.policy=delete"),
        ("lifecycle", Seen(Found(8, CONFIG | {"max.message.bytes": "9"})), State.FAILED, "takes at most", "raise it"),
        ("checkpoints", Seen(Found(8, COMPACTED)), State.OK, "8 partitions, cleanup.policy=compact", None),
        ("checkpoints", Seen(Found(2, COMPACTED)), State.WARNING, "has 2 partitions", "topics.shards = 2"),
        ("checkpoints", Seen(Found(8, CONFIG)), State.FAILED, "positions are lost", "cleanup.policy=compact"),
        (
            "checkpoints",
            Seen(Found(8, COMPACTED), allowed=frozenset({"DESCRIBE"})),
            State.FAILED,
            "may not read and write it",
            "grant READ and WRITE",
        ),
    ],
)
def test_a_topic_is_judged(key, seen, state, words, hint) -> None:
    """As the start would take it, and stricter where the bridge may not look."""
    given = settings()
    line = checks.topic_line(planned(f"topics.{key}", given), seen, given)
    assert line.state is state
    assert words in line.detail
    assert (line.hint is None) if hint is None else (hint in str(line.hint))


def test_a_missing_topic_fails_when_none_may_be_created() -> None:
    """And the hint names the setting."""
    given = settings(topics__create=False)
    line = checks.topic_line(planned("topics.events", given), Seen(None), given)
    assert line.state is State.FAILED
    assert "topics.create = true" in str(line.hint)


def caused(error: Exception, cause: Exception | None) -> Exception:
    """The error as it is raised ``from`` its cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (caused(ServerUnavailable("x"), ConnectionRefusedError()), "start the server"),
        (caused(ServerUnavailable("x"), socket.gaierror()), "the name is not known"),
        (caused(ServerUnavailable("x"), ssl.SSLCertVerificationError()), "servers.local.ca_file"),
        (caused(ServerUnavailable("x"), TimeoutError()), "firewall"),
        (caused(ServerUnavailable("x"), FileNotFoundError()), "servers.local.token_file"),
        (PermissionError(), "servers.local.token_file"),
        (ServerUnavailable("x", answered=True, status=401), "servers.local.token"),
        (ServerUnavailable("x", answered=True, status=404), "is this a Mix agent server"),
        (ServerUnavailable("x", answered=True), "is this a Mix agent server"),
        (ServerUnavailable("x"), "whether the server runs"),
        (OSError("?"), "whether the server runs"),
    ],
)
def test_a_server_that_does_not_answer_has_a_hint_by_its_cause(error, hint) -> None:
    """The innermost error tells what to do; the credentials of the address are told to nobody."""
    line = checks.server_away("local", settings(), "detail", error)
    assert line.state is State.FAILED
    assert hint in str(line.hint)
    assert line.detail == "http://mix:8088: detail"


def test_configured_sessions_do_without_a_list() -> None:
    """But not without the server."""
    given = settings(servers__local__sessions=["a", "b"])
    odd = checks.server_away("local", given, "detail", ServerUnavailable("x", answered=True))
    assert (odd.state, "2 configured sessions" in odd.detail) == (State.WARNING, True)
    assert "servers.local.discover = false" in str(odd.hint)
    assert checks.server_away("local", given, "detail", ServerUnavailable("x")).state is State.FAILED


def test_more_sessions_than_allowed_and_odd_entries_are_warnings() -> None:
    """Said, since those sessions are not bridged."""
    given = settings(servers__local__max_sessions=2)
    assert checks.server_answers("local", given, 5, 2, None).state is State.OK
    many = checks.server_answers("local", given, 5, 3, None)
    assert (many.state, "servers.local.max_sessions" in str(many.hint)) == (State.WARNING, True)
    odd = checks.server_answers("local", given, 1, 1, "1 of 2 listed sessions skipped")
    assert (odd.state, "1 of 2 listed sessions skipped" in odd.detail) == (State.WARNING, True)


def test_a_server_behind_a_proxy_is_not_promised() -> None:
    """Only the proxy was connected to."""
    given = settings(servers__local__proxy="http://me:hunter2@proxy:3128", servers__local__sessions=["a"])
    line = checks.server_connects("local", given)
    assert "the proxy http://proxy:3128 takes connections" in line.detail
    assert "hunter2" not in line.detail


def test_warnings_pass_and_failures_do_not() -> None:
    """The exit code follows."""
    lines = [Line("a", State.OK, ""), Line("b", State.WARNING, "", "hint")]
    assert checks.passed(lines)
    assert not checks.passed([*lines, checks.no_answer("c", 15)])


def test_a_taken_port_keeps_the_ways_out_of_the_setting() -> None:
    """And names the likeliest reason."""
    line = checks.port_taken(Mistake("http.port", "8090 on h is taken by another program; choose another"))
    assert line.detail == "8090 on h is taken by another program"
    assert line.hint == "stop that program (perhaps a running mix-bridge), or choose another"
