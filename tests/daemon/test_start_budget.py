"""The time within which Kafka and at least one server must be reached."""

from __future__ import annotations

import pytest

from bridge.daemon.source import Source
from bridge.daemon.start_budget import StartBudget
from bridge.errors import Unreachable
from tests.fakes.clock import ManualClock
from tests.fakes.sources import source


def servers(*, answered: bool) -> list[Source]:
    """Two servers, the second with credentials in its URL; one of them may have answered."""
    near = source("http://127.0.0.1:9", name="near")
    far = source("https://bridge:hunter2@mix.example:8443/base", name="far")
    near.record_request(answered=answered, failure="connection refused")
    return [near, far]


def waiting_for() -> str:
    """What the coordinator waits for."""
    return "shard 3: another process's open transaction"


def test_unassigned_shards_end_the_start_a_minute_after_the_budget() -> None:
    """A group waits for its slowest member, so Kafka is reachable all the same. The error names what is waited for."""
    clock = ManualClock()
    budget = StartBudget(2.0, clock)
    clock.advance(61.9)
    budget.check_shards(waiting_for)
    clock.advance(0.2)
    with pytest.raises(Unreachable, match="shard 3: another process's open transaction"):
        budget.check_shards(waiting_for)


def test_servers_that_do_not_answer_end_the_start() -> None:
    """The error names the URL of each server, without credentials, and why it cannot be reached."""
    clock = ManualClock()
    budget = StartBudget(2.0, clock)
    clock.advance(1.9)
    budget.check_servers(servers(answered=False), asked=True)
    clock.advance(0.2)
    with pytest.raises(Unreachable) as raised:
        budget.check_servers(servers(answered=False), asked=True)
    assert "near at http://127.0.0.1:9: connection refused; far at https://" in str(raised.value)
    assert "mix.example:8443/base: no answer yet" in str(raised.value)
    assert "servers.<name>.url" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_one_server_that_answered_is_enough() -> None:
    """The others are retried for ever."""
    clock = ManualClock()
    budget = StartBudget(2.0, clock)
    clock.advance(300.0)
    budget.check_servers(servers(answered=True), asked=True)


def test_a_replica_that_sends_no_request_waits_for_ever() -> None:
    """When it acquires sessions, the time for the servers begins."""
    clock = ManualClock()
    budget = StartBudget(2.0, clock)
    clock.advance(300.0)
    budget.check_servers(servers(answered=False), asked=False)
    clock.advance(1.9)
    budget.check_servers(servers(answered=False), asked=True)


def test_a_budget_of_zero_is_never_used_up() -> None:
    """``start_timeout=0`` waits for ever."""
    clock = ManualClock()
    budget = StartBudget(0.0, clock)
    clock.advance(1e9)
    assert not budget.is_used_up()
