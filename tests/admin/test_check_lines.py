"""The lines of ``mix-bridge check``: state, detail and hint of each result."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest

from bridge.admin.check import line as check_line
from bridge.admin.check import lines as checks
from bridge.admin.check.line import Line, State
from bridge.errors import Mistake
from bridge.kafka.connection_failures import ConnectionFailure, NotReached
from bridge.kafka.topics import TopicDescription, TopicPlan, plan
from bridge.mix.sessions import NoList, ServerUnavailable
from bridge.settings import Settings, load

CONFIG = {"cleanup.policy": "delete", "max.message.bytes": "1048588"}
COMPACTED = {"cleanup.policy": "compact"}
HIDDEN = object()
"""A topic that the bridge may not describe."""


def settings(**more: Any) -> Settings:
    """Settings for one server."""
    given = {"servers.local.url": "http://me:hunter2@mix:8088", "kafka.bootstrap_servers": "k:9092"}
    return load(given | {key.replace("__", "."): value for key, value in more.items()}, {})


def planned(key: str, of: Settings) -> TopicPlan:
    """The plan for the topic that a setting names."""
    return next(each for each in plan(of) if each.key == key)


@pytest.mark.parametrize("connection_failure", ConnectionFailure)
def test_every_connection_failure_has_a_hint(connection_failure) -> None:
    """What the user can do about it."""
    line = checks.kafka_unreachable(NotReached(connection_failure, "detail"))
    assert (line.state, line.detail) == (State.FAILED, "detail")
    assert line.hint


@pytest.mark.parametrize(
    ("key", "topic", "state", "words", "hint"),
    [
        ("events", TopicDescription(8, CONFIG), State.OK, "8 partitions, cleanup.policy=delete", None),
        ("events", TopicDescription(1, CONFIG, operations=frozenset({"WRITE"})), State.OK, "1 partition,", None),
        (
            "events",
            TopicDescription(8, CONFIG, operations=frozenset({"READ"})),
            State.FAILED,
            "may not write",
            "grant WRITE",
        ),
        ("events", TopicDescription(8, COMPACTED), State.FAILED, "events are lost", "cleanup.policy=delete"),
        (
            "events",
            TopicDescription(8, CONFIG | {"max.message.bytes": "9"}),
            State.WARNING,
            "dead letter",
            "raise max.message.bytes",
        ),
        ("events", TopicDescription(8, None), State.FAILED, "may not read its settings", "grant DescribeConfigs"),
        ("events", HIDDEN, State.FAILED, "may not describe it", "topics.events"),
        ("events", None, State.OK, "8 partitions and the brokers' number of replicas", None),
        ("events", "POLICY_VIOLATION: no", State.FAILED, "POLICY_VIOLATION", "topics.config"),
        ("lifecycle", TopicDescription(8, CONFIG, operations=frozenset({"WRITE"})), State.OK, "8 partitions,", None),
        (
            "lifecycle",
            TopicDescription(8, CONFIG, operations=frozenset()),
            State.FAILED,
            "may not write",
            "grant WRITE",
        ),
        (
            "lifecycle",
            TopicDescription(8, COMPACTED),
            State.FAILED,
            "lifecycle records are lost",
            "cleanup.policy=delete",
        ),
        (
            "lifecycle",
            TopicDescription(8, CONFIG | {"max.message.bytes": "9"}),
            State.FAILED,
            "accepts at most",
            "raise it",
        ),
        ("checkpoints", TopicDescription(8, COMPACTED), State.OK, "8 partitions, cleanup.policy=compact", None),
        ("checkpoints", TopicDescription(2, COMPACTED), State.WARNING, "has 2 partitions", "topics.shards = 2"),
        ("checkpoints", TopicDescription(8, CONFIG), State.FAILED, "positions are lost", "cleanup.policy=compact"),
        (
            "checkpoints",
            TopicDescription(8, COMPACTED, operations=frozenset({"DESCRIBE"})),
            State.FAILED,
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
    """The hint names the setting."""
    given = settings(topics__create=False)
    line = checks.topic_line(planned("topics.events", given), {"mix.events": None}, {}, given)
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
    assert line.state is State.FAILED
    assert hint in str(line.hint)
    assert line.detail == "http://mix:8088: detail"


def test_a_failed_list_is_a_warning_beside_configured_sessions() -> None:
    """An unreachable server is not."""
    given = settings(servers__local__sessions=["a", "b"])
    odd = checks.server_unreachable("local", given, "detail", ServerUnavailable("x", answered=True))
    assert (odd.state, "2 configured sessions" in odd.detail) == (State.WARNING, True)
    assert "servers.local.discover = false" in str(odd.hint)
    assert checks.server_unreachable("local", given, "detail", ServerUnavailable("x")).state is State.FAILED


def test_more_sessions_than_allowed_and_odd_entries_are_warnings() -> None:
    """Those sessions are not bridged."""
    given = settings(servers__local__max_sessions=2)
    assert checks.server_answers("local", given, 5, 2, None).state is State.OK
    many = checks.server_answers("local", given, 5, 3, None)
    assert (many.state, "servers.local.max_sessions" in str(many.hint)) == (State.WARNING, True)
    odd = checks.server_answers("local", given, 1, 1, "1 of 2 listed sessions skipped")
    assert (odd.state, "1 of 2 listed sessions skipped" in odd.detail) == (State.WARNING, True)


def test_behind_a_proxy_only_the_proxy_is_reported() -> None:
    """The check connected to nothing else."""
    given = settings(servers__local__proxy="http://me:hunter2@proxy:3128", servers__local__sessions=["a"])
    line = checks.server_connects("local", given)
    assert "the proxy http://proxy:3128 accepts connections" in line.detail
    assert "hunter2" not in line.detail


def test_warnings_pass_and_failures_do_not() -> None:
    """The exit code follows."""
    lines = [Line("a", State.OK, ""), Line("b", State.WARNING, "", "hint")]
    assert check_line.passed(lines)
    assert not check_line.passed([*lines, checks.no_answer("c", 15)])


def test_a_mistake_is_split_into_detail_and_hint() -> None:
    """After the last semicolon it says what to do."""
    line = check_line.line_of("http", Mistake("http.port", "a; b; c"), "a; b; c")
    assert (line.detail, line.hint) == ("a; b", "c (http.port)")
    line = check_line.line_of("http", Mistake("http.port", "a"), "a")
    assert (line.detail, line.hint) == ("a", "see http.port")
