"""A group consumer that gets no answer: replaced when Kafka answers others, and given up when that does not help."""

from __future__ import annotations

import pytest

from bridge.kafka.group import GroupDescription, GroupMember
from bridge.sharding.proofs import GroupWatch, Reaction


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
