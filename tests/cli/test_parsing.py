"""Parsing the values of options."""

from __future__ import annotations

import pytest
from typer import BadParameter

from bridge.cli.options import since_in_past
from bridge.cli.verify import session_name

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", NOW - 90 * 60_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500),
    ],
)
def test_since_is_a_duration_or_a_time_with_its_offset(text: str, moment: int) -> None:
    """In Unix milliseconds."""
    assert since_in_past(text, lambda: NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "2999-01-01T00:00:00Z", "0s", "2023-11-14", "99999999h"])
def test_another_text_or_a_time_that_is_not_past_is_a_wrong_use(text: str) -> None:
    """It ends with exit code 2."""
    with pytest.raises(BadParameter):
        since_in_past(text, lambda: NOW)


def test_a_session_is_named_as_in_the_keys_of_records() -> None:
    """With its server."""
    assert session_name("local/a/b") == "local/a/b"
    for wrong in ("a", "/a", "a/"):
        with pytest.raises(BadParameter):
            session_name(wrong)
