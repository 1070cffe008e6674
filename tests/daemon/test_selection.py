"""Which sessions run: what discovery lets in, and how the lists are merged."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.identity import SessionKey, partition_of
from bridge.daemon.selection import Choice, OwnedPart, choose
from bridge.mix.listing import SessionSummary
from bridge.mix.session_filter import DiscoveryRules, discovered

NOW = 1_700_000_000_000
IDS = st.lists(st.sampled_from([f"s{number}" for number in range(12)]))


@pytest.mark.parametrize(
    ("kind", "age_ms", "rules", "let_in"),
    [
        ("main", 5, DiscoveryRules(include_subagents=False, created_within=None), True),
        ("subagent", 5, DiscoveryRules(include_subagents=False, created_within=None), False),
        ("subagent", 5, DiscoveryRules(include_subagents=True, created_within=None), True),
        ("main", 60_000, DiscoveryRules(include_subagents=False, created_within=60), True),
        ("main", 60_001, DiscoveryRules(include_subagents=False, created_within=60), False),
        ("main", None, DiscoveryRules(include_subagents=False, created_within=60), True),
        ("main", -5, DiscoveryRules(include_subagents=False, created_within=60), True),
    ],
)
def test_discovery_filters_by_kind_and_age(
    kind: str, age_ms: int | None, rules: DiscoveryRules, *, let_in: bool
) -> None:
    """A session of unknown age, or of tomorrow, is let in: too much is not a loss."""
    created = None if age_ms is None else NOW - age_ms
    listing = [SessionSummary("s1", kind, created, None)]
    assert discovered(listing, rules, NOW) == (("s1",) if let_in else ())


def test_the_lists_are_merged_in_the_order_of_their_rights() -> None:
    """Running first, then configured, then checkpointed, then listed; each once."""
    choice = choose(["b", "a"], ["c", "a"], ["d", "r"], running={"r"}, over=set(), limit=10)
    assert choice == Choice(("r", "b", "a", "c", "d"), 0)


@given(
    sources=st.tuples(IDS, IDS, IDS),
    running=st.sets(st.sampled_from(["s1", "s2", "s3"])),
    over=st.sets(st.sampled_from(["s3", "s4"])),
    limit=st.integers(0, 9),
)
def test_no_session_comes_twice_and_none_goes_unnamed(
    sources: tuple[list[str], list[str], list[str]], running: set[str], over: set[str], limit: int
) -> None:
    """Within the limit all are chosen, beyond it they are counted; one that is over rests, unless it still runs."""
    choice = choose(*sources, running=running, over=over, limit=limit)
    wanted = running | (set(chain(*sources)) - over)
    assert len(set(choice.chosen)) == len(choice.chosen) == min(limit, len(wanted))
    assert len(choice.chosen) + choice.left_out == len(wanted)
    assert set(choice.chosen) <= wanted
    if limit >= len(running):
        assert running <= set(choice.chosen)


def test_only_the_part_of_a_list_in_owned_shards_is_worked_on() -> None:
    """The shards of two processes part the sessions between them; a list is gone through once for each ownership."""
    listed, asked = tuple(f"s{number}" for number in range(50)), list[SessionKey]()

    def shard_of(key: SessionKey) -> int:
        asked.append(key)
        return partition_of(key.record_key, 8)

    part = OwnedPart("local", shard_of)
    left, right = part.of("listed", listed, {0, 1, 2}), part.of("other", listed, {3, 4, 5, 6, 7})
    assert {*left, *right} == set(listed)
    assert not {*left} & {*right}
    assert len(asked) == 100
    assert part.of("listed", listed, {0, 1, 2}) == left
    assert len(asked) == 100
    assert part.of("listed", listed, set(range(8))) == listed
    assert part.of("listed", ("s1",), set(range(8))) == ("s1",)
