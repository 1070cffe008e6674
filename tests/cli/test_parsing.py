"""Parsing the values of options."""

from __future__ import annotations

import pytest
from typer import BadParameter

from bridge.cli.options import session_parser, since_in_past

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
    """With its server; a command may allow other texts without a slash."""
    session, any_name = session_parser("SERVER/ID"), session_parser("SERVER/ID, ID", bool)
    assert session("local/a/b") == any_name("local/a/b") == "local/a/b"
    assert any_name("a") == "a"
    for parse, wrong in ((session, "a"), (session, ""), (any_name, "")):
        with pytest.raises(BadParameter):
            parse(wrong)
    for wrong in ("/a", "a/"):
        for parse in (session, any_name):
            with pytest.raises(BadParameter):
                parse(wrong)
