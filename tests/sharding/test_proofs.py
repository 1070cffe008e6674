"""A proof of membership: only a commit sent after the question, accepted, and lately, is one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError

from bridge.clock import monotonic
from bridge.kafka.group_errors import MemberStatus, connection_failure_to_joining, standing_of
from bridge.sharding.proofs import FRESH, Proofs
from tests.support.waiting import wait_until


def never() -> bool:
    return False


class Asking:
    """One thread that waits for a proof."""

    def __init__(self, proofs: Proofs, since: float, is_over: Callable[[], bool] = never) -> None:
        self.answers: list[bool] = []
        self.thread = threading.Thread(target=lambda: self.answers.append(proofs.prove(since, is_over)), daemon=True)
        self.thread.start()

    def answer(self) -> bool:
        self.thread.join(5)
        return self.answers[0]


def test_a_commit_sent_after_the_question_proves() -> None:
    proofs = Proofs(60.0)
    asked = monotonic()
    asking = Asking(proofs, asked)
    wait_until(lambda: proofs.is_due(monotonic()))
    proofs.sent(1, monotonic())
    proofs.accepted(1)
    assert asking.answer()
    assert proofs.proven_at >= asked


def test_a_commit_sent_before_the_question_proves_nothing() -> None:
    proofs = Proofs(60.0)
    proofs.sent(1, monotonic())
    asking = Asking(proofs, monotonic())
    proofs.accepted(1)
    asking.thread.join(0.3)
    assert asking.thread.is_alive()
    wait_until(lambda: proofs.is_due(monotonic()))
    proofs.sent(2, monotonic())
    proofs.accepted(2)
    assert asking.answer()


def test_a_commit_whose_answer_was_read_after_a_stand_proves_nothing() -> None:
    """Though it was sent after the question: in between, the shards may have become another process's."""
    proofs = Proofs(60.0)
    before = monotonic() - FRESH - 1.0
    proofs.sent(1, before)
    proofs.accepted(1)
    asking = Asking(proofs, before)
    wait_until(lambda: proofs.is_due(monotonic()))
    assert asking.thread.is_alive()
    proofs.sent(2, monotonic())
    proofs.accepted(2)
    assert asking.answer()


@pytest.mark.parametrize("spoil", [Proofs.forget, lambda proofs: proofs.refused(1)])
def test_what_was_refused_or_sent_before_a_loss_proves_nothing(spoil: Callable[[Proofs], None]) -> None:
    proofs = Proofs(60.0)
    proofs.sent(1, monotonic())
    spoil(proofs)
    proofs.accepted(1)
    assert proofs.proven_at < 0
    assert proofs.is_settled


def test_a_wait_ends_when_there_is_no_reason_to_wait_and_at_the_end() -> None:
    proofs, over = Proofs(60.0), threading.Event()
    first, second = Asking(proofs, monotonic(), over.is_set), Asking(proofs, monotonic())
    over.set()
    assert first.answer() is False
    assert second.thread.is_alive()
    proofs.close()
    assert second.answer() is False
    assert proofs.prove(monotonic(), never) is False


def test_commits_go_out_by_the_clock_one_at_a_time() -> None:
    proofs = Proofs(1.0)
    assert proofs.is_due(100.0)
    proofs.sent(1, 100.0)
    assert not proofs.is_due(101.5)  # the answer is waited for
    proofs.refused(1)
    assert proofs.is_due(101.5)
    proofs.sent(2, 102.0)
    assert not proofs.is_due(111.9)
    assert proofs.is_due(112.0)  # but not for ever


def test_who_asks_has_a_commit_at_once_but_no_storm_of_them() -> None:
    proofs = Proofs(60.0)
    now = monotonic()
    proofs.sent(1, now)
    proofs.accepted(1)
    assert not proofs.is_due(now + 1.0)
    proofs.ask()
    assert proofs.is_due(monotonic())
    now = monotonic()
    proofs.sent(2, now)
    proofs.refused(2)
    assert not proofs.is_due(now + 0.05)
    assert proofs.is_due(now + 0.11)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, MemberStatus.MEMBER),
        (KafkaError.UNKNOWN_MEMBER_ID, MemberStatus.EXPELLED),
        (KafkaError._MAX_POLL_EXCEEDED, MemberStatus.EXPELLED),
        (KafkaError.FENCED_INSTANCE_ID, MemberStatus.FENCED),
        (KafkaError._FATAL, MemberStatus.FENCED),
        (KafkaError.ILLEGAL_GENERATION, MemberStatus.UNKNOWN),
        (KafkaError.REBALANCE_IN_PROGRESS, MemberStatus.UNKNOWN),
        (KafkaError._TIMED_OUT, MemberStatus.UNKNOWN),
        (KafkaError.NOT_COORDINATOR, MemberStatus.UNKNOWN),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, MemberStatus.UNKNOWN),
    ],
)
def test_only_an_answer_without_error_proves(error: int | None, status: MemberStatus) -> None:
    assert standing_of(None if error is None else KafkaError(error)) is status


@pytest.mark.parametrize(
    ("error", "key", "words"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "namespace", "grant READ on group ns.bridge"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "topics.checkpoints", "grant READ on topic ns.checkpoints"),
        (KafkaError.INVALID_SESSION_TIMEOUT, "kafka.group_session_timeout", "group.min.session.timeout.ms"),
        (KafkaError.INCONSISTENT_GROUP_PROTOCOL, "namespace", "ns.bridge belongs to other consumers"),
    ],
)
def test_what_keeps_a_process_out_for_good_names_the_setting(error: int, key: str, words: str) -> None:
    connection_failure = connection_failure_to_joining(KafkaError(error), "ns.bridge", "ns.checkpoints")
    assert connection_failure is not None
    assert [mistake.key for mistake in connection_failure.mistakes] == [key]
    assert words in str(connection_failure)


@pytest.mark.parametrize("error", [KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError._ALL_BROKERS_DOWN])
def test_what_may_pass_keeps_nobody_out(error: int) -> None:
    assert connection_failure_to_joining(KafkaError(error), "ns.bridge", "ns.checkpoints") is None
