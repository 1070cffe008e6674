"""Text of strangers on a terminal: nothing of it acts, and what is there is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.terminal_text import columns, shortened, visible, visible_bytes


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain, caf\u00e9, \u65e5\u672c, \U0001f600", "plain, caf\u00e9, \u65e5\u672c, \U0001f600"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("evil\u202eexe.txt\u2066\u2069", "evil\\u202eexe.txt\\u2066\\u2069"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\u2028\u2029\u00a0", "\\u2028\\u2029\\xa0"),
        ("\U000e0041\ud800", "\\U000e0041\\ud800"),
    ],
)
def test_what_is_no_visible_character_is_an_escape(text: str, seen: str) -> None:
    """Control characters of both sets, escape sequences, overrides of direction, what has no width."""
    assert visible(text) == seen


def test_lines_are_kept_where_they_are_wanted() -> None:
    """Line ends and tabs only; a carriage return could still overwrite a line."""
    assert visible("a\n\tb\rc\x1b", lines=True) == "a\n\tb\\rc\\x1b"


@given(text=st.text())
def test_nothing_that_is_shown_can_act(text: str) -> None:
    """Whatever comes, each line of it is printable, and a terminal can encode it."""
    assert visible(text).isprintable()
    assert all(line.isprintable() for line in visible(text, lines=True).replace("\t", " ").split("\n"))
    visible(text).encode()


def test_bytes_that_are_no_utf_8_are_seen_too() -> None:
    """As escapes of the bytes."""
    assert visible_bytes(b"a\xff\x1b\xc3\xa9") == "a\\xff\\x1b\u00e9"


def test_a_cut_is_seen() -> None:
    """By an ellipsis within the limit."""
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde\u2026"


def test_columns_are_aligned_and_end_where_the_text_ends() -> None:
    """Numbers to the right, the last column as long as it is."""
    assert columns([("N", "NAME", "REST"), ("10", "a", "long text")], right=frozenset({0})) == [
        " N  NAME  REST",
        "10  a     long text",
    ]
