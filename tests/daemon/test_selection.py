"""Which sessions run: the filters of discovery, and how the lists are merged."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.identity import SessionKey, partition_of
from bridge.daemon.server_sessions import OwnedPart, Selection, select
from bridge.mix.listing import DiscoveryRules, SessionSummary, discovered

NOW = 1_700_000_000_000
IDS = st.lists(st.sampled_from([f"s{number}" for number in range(12)]))


@pytest.mark.parametrize(
    ("kind", "age_ms", "rules", "passes"),
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
    kind: str, age_ms: int | None, rules: DiscoveryRules, *, passes: bool
) -> None:
    """A session of unknown age, or of tomorrow, passes: too much is not a loss."""
    created = None if age_ms is None else NOW - age_ms
    listing = [SessionSummary("s1", kind, created)]
    assert discovered(listing, rules, NOW) == (("s1",) if passes else ())


def test_the_lists_are_merged_in_order_of_precedence() -> None:
    """Running first, then configured, then checkpointed, then listed; each once."""
    selection = select(["b", "a"], ["c", "a"], ["d", "r"], running={"r"}, cooling_down=set(), limit=10)
    assert selection == Selection(("r", "b", "a", "c", "d"), 0)


@given(
    sources=st.tuples(IDS, IDS, IDS),
    running=st.sets(st.sampled_from(["s1", "s2", "s3"])),
    cooling_down=st.sets(st.sampled_from(["s3", "s4"])),
    limit=st.integers(0, 9),
)
def test_no_session_is_selected_twice_and_each_is_counted(
    sources: tuple[list[str], list[str], list[str]], running: set[str], cooling_down: set[str], limit: int
) -> None:
    """Up to the limit all are chosen, above it they are counted. One that cools down is neither, unless it runs."""
    selection = select(*sources, running=running, cooling_down=cooling_down, limit=limit)
    wanted = running | (set(chain(*sources)) - cooling_down)
    assert len(set(selection.chosen)) == len(selection.chosen) == min(limit, len(wanted))
    assert len(selection.chosen) + selection.left_out == len(wanted)
    assert set(selection.chosen) <= wanted
    if limit >= len(running):
        assert running <= set(selection.chosen)


def test_only_the_part_of_a_list_in_owned_shards_is_selected() -> None:
    """Two processes divide the sessions between them; each list is hashed once per set of owned shards."""
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
