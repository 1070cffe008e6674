"""A proof of membership: a commit that was sent after the request and accepted lately; and the reaction without one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError

from bridge.clock import monotonic
from bridge.kafka.errors import MemberStatus, member_status
from bridge.kafka.group import GroupDescription, GroupMember
from bridge.sharding.proofs import FRESH, GroupWatch, Proofs, Reaction
from tests.support.waiting import TIMEOUT, wait_until


def never() -> bool:
    return False


class Waiting:
    """A thread that waits for a proof."""

    def __init__(self, proofs: Proofs, since: float, is_over: Callable[[], bool] = never) -> None:
        self.answers: list[bool] = []
        self.thread = threading.Thread(target=lambda: self.answers.append(proofs.prove(since, is_over)), daemon=True)
        self.thread.start()

    def answer(self) -> bool:
        self.thread.join(TIMEOUT)
        return self.answers[0]


def test_a_commit_sent_after_the_request_is_a_proof() -> None:
    proofs = Proofs(60.0)
    asked = monotonic()
    waiting = Waiting(proofs, asked)
    wait_until(lambda: proofs.is_due(monotonic()))
    proofs.sent(1, monotonic())
    proofs.answered(1, is_member=True)
    assert waiting.answer()
    assert proofs.proven_at >= asked


def test_a_commit_sent_before_the_request_is_no_proof() -> None:
    proofs = Proofs(60.0)
    proofs.sent(1, monotonic())
    waiting = Waiting(proofs, monotonic())
    proofs.answered(1, is_member=True)
    waiting.thread.join(0.3)
    assert waiting.thread.is_alive()
    wait_until(lambda: proofs.is_due(monotonic()))
    proofs.sent(2, monotonic())
    proofs.answered(2, is_member=True)
    assert waiting.answer()


def test_a_commit_whose_answer_was_read_after_a_pause_is_no_proof() -> None:
    """Although it was sent after the request: meanwhile another process may have taken the shards."""
    proofs = Proofs(60.0)
    before = monotonic() - FRESH - 1.0
    proofs.sent(1, before)
    proofs.answered(1, is_member=True)
    waiting = Waiting(proofs, before)
    wait_until(lambda: proofs.is_due(monotonic()))
    assert waiting.thread.is_alive()
    proofs.sent(2, monotonic())
    proofs.answered(2, is_member=True)
    assert waiting.answer()


@pytest.mark.parametrize("spoil", [Proofs.forget, lambda proofs: proofs.answered(1, is_member=False)])
def test_a_commit_that_was_refused_or_sent_before_a_loss_is_no_proof(spoil: Callable[[Proofs], None]) -> None:
    proofs = Proofs(60.0)
    proofs.sent(1, monotonic())
    spoil(proofs)
    proofs.answered(1, is_member=True)
    assert proofs.proven_at < 0
    assert proofs.is_settled


def test_a_wait_ends_when_its_caller_is_stopped_and_at_the_end() -> None:
    proofs, over = Proofs(60.0), threading.Event()
    first, second = Waiting(proofs, monotonic(), over.is_set), Waiting(proofs, monotonic())
    over.set()
    assert first.answer() is False
    assert second.thread.is_alive()
    proofs.close()
    assert second.answer() is False
    assert proofs.prove(monotonic(), never) is False


def test_commits_are_sent_at_intervals_one_at_a_time() -> None:
    proofs = Proofs(1.0)
    assert proofs.is_due(100.0)
    proofs.sent(1, 100.0)
    assert not proofs.is_due(101.5)  # the answer is missing
    proofs.answered(1, is_member=False)
    assert proofs.is_due(101.5)
    proofs.sent(2, 102.0)
    assert not proofs.is_due(111.9)
    assert proofs.is_due(112.0)  # but not for ever


def test_a_request_causes_a_commit_immediately_but_not_many() -> None:
    proofs = Proofs(60.0)
    now = monotonic()
    proofs.sent(1, now)
    proofs.answered(1, is_member=True)
    assert not proofs.is_due(now + 1.0)
    proofs.ask()
    assert proofs.is_due(monotonic())
    now = monotonic()
    proofs.sent(2, now)
    proofs.answered(2, is_member=False)
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
def test_only_an_answer_without_error_is_a_proof(error: int | None, status: MemberStatus) -> None:
    assert member_status(None if error is None else KafkaError(error)) is status


def ask(watch: GroupWatch, now: float, *, answers: bool, answered_at: float = 0.0) -> Reaction | None:
    """Ask with a new client if that is due."""
    return watch.asked(answers=answers, now=now) if watch.is_due(answered_at, now) else None


def test_a_stuck_consumer_is_replaced_once_and_then_the_process_ends() -> None:
    """In two steps each: after an outage the consumer may recover by itself."""
    watch = GroupWatch(0.0)
    assert ask(watch, 29, answers=True) is None
    assert ask(watch, 30, answers=True) is Reaction.NONE
    assert ask(watch, 59, answers=True) is None
    assert ask(watch, 60, answers=True) is Reaction.RENEW
    assert ask(watch, 90, answers=True) is Reaction.NONE
    assert ask(watch, 120, answers=True) is Reaction.END


def test_an_outage_of_kafka_is_no_reason_to_replace_the_consumer() -> None:
    """A new client could not do better."""
    watch = GroupWatch(0.0)
    for now in range(30, 3000, 30):
        assert ask(watch, now, answers=False) is Reaction.NONE
    assert ask(watch, 3000, answers=True) is Reaction.NONE
    assert ask(watch, 3030, answers=True, answered_at=3005) is None


def test_an_answer_to_the_new_client_begins_again() -> None:
    """The next time it is replaced as well."""
    watch = GroupWatch(0.0)
    for now, reaction in ((30, Reaction.NONE), (60, Reaction.RENEW)):
        assert ask(watch, now, answers=True) is reaction
    for now, reaction in ((101, Reaction.NONE), (131, Reaction.RENEW)):
        assert ask(watch, now, answers=True, answered_at=70) is reaction


def test_a_name_that_is_fenced_again_and_again_ends_the_process() -> None:
    """Two processes that take it from each other would never end."""
    watch = GroupWatch(0.0)
    fences = [watch.fenced(now) for now in (0, 300, 700, 1000, 1100)]
    assert fences == [*[Reaction.RENEW] * 4, Reaction.END]


def test_a_member_without_shards_is_answered_by_the_list_of_members() -> None:
    watch = GroupWatch(0.0)
    assert ask(watch, 30, answers=True) is Reaction.NONE
    watch.answered(60)
    assert ask(watch, 60, answers=True) is None
    assert ask(watch, 90, answers=True) is Reaction.NONE


@pytest.mark.parametrize(
    ("members", "is_idle"),
    [
        ([], False),
        ([("other", ())], False),
        ([("ours", ())], True),
        ([("ours", (8, 9))], True),  # partitions that were added to the topic later
        ([("ours", (0,))], False),  # it has shards, and the process knows nothing of them: the client is stuck
        ([("ours", (0,)), ("ours", ())], True),  # two containers with one host name
    ],
)
def test_a_member_without_shards_is_found_by_its_client_id(
    members: list[tuple[str, tuple[int, ...]]], *, is_idle: bool
) -> None:
    listed = tuple(GroupMember("m", "10.0.0.7", frozenset(shards), client_id=name) for name, shards in members)
    assert GroupDescription(listed).has_idle("ours", 8) is is_idle
