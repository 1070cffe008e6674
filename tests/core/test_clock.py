"""Times as text, deadlines and back-off."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import Backoff, Deadline, clock_difference, parse_rfc3339, rfc3339

YEAR_10000_MS = 253_402_300_800_000


@given(st.integers(0, YEAR_10000_MS - 1))
def test_a_formatted_time_is_parsed_back(unix_ms: int) -> None:
    """Records hold the time to the millisecond."""
    assert parse_rfc3339(rfc3339(unix_ms)) == unix_ms


@pytest.mark.parametrize("text", ["1970-01-01T01:00:00.001+01:00", "1970-01-01T00:00:00.001Z"])
def test_a_time_in_any_zone_is_parsed(text: str) -> None:
    """RFC 3339 allows any offset."""
    assert parse_rfc3339(text) == 1


def test_a_time_without_a_zone_needs_a_default() -> None:
    """Without one the result would depend on the machine's own zone."""
    with pytest.raises(ValueError, match="a time without a zone"):
        parse_rfc3339("1970-01-01T00:00:00")
    assert parse_rfc3339("1970-01-01T00:00:00", default_zone=UTC) == 0
    assert parse_rfc3339("1970-01-01T01:00:00", default_zone=timezone(timedelta(hours=1))) == 0


@pytest.mark.parametrize("text", ["", "yesterday", "1970-13-01T00:00:00Z"])
def test_any_other_text_is_an_error(text: str) -> None:
    """The caller says where the text comes from."""
    with pytest.raises(ValueError, match="a time that is not RFC 3339"):
        parse_rfc3339(text)


def test_a_deadline_counts_down_to_zero() -> None:
    """A wait with the remaining time never gets a negative number."""
    now = 100.0
    deadline = Deadline.after(2.0, lambda: now)
    assert (deadline.remaining, deadline.has_passed) == (2.0, False)
    now = 102.0
    assert (deadline.remaining, deadline.has_passed) == (0.0, True)
    now = 103.0
    assert (deadline.remaining, deadline.has_passed) == (0.0, True)


def test_a_back_off_doubles_up_to_its_maximum() -> None:
    """Also after so many failures that the power would overflow a float."""
    backoff = Backoff(0.5, 5.0)
    assert [backoff.delay(failures) for failures in (0, 1, 2, 3, 4, 10_000)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_only_a_large_difference_of_two_clocks_is_a_problem() -> None:
    """A request takes time, and dates in HTTP have whole seconds."""
    assert clock_difference(-300, "the server") is None
    assert (
        clock_difference(7260, "the server")
        == "the clock of this machine is 2 h 1 min ahead of the clock of the server"
    )
    behind = clock_difference(-301, "the brokers")
    assert behind == "the clock of this machine is 5 min behind the clock of the brokers"
