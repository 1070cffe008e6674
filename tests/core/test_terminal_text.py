"""Untrusted text on a terminal: every character is visible, and none acts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.terminal_text import one_line, shortened, visible, visible_bytes


@pytest.mark.parametrize(
    ("text", "shown"),
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
def test_characters_that_are_not_visible_become_escapes(text: str, shown: str) -> None:
    """Control characters of both sets, escape sequences, direction overrides, characters without width."""
    assert visible(text) == shown


def test_line_ends_are_kept_on_request() -> None:
    """Only line ends and tabs; a carriage return could overwrite a line."""
    assert visible("a\n\tb\rc\x1b", lines=True) == "a\n\tb\\rc\\x1b"


@given(text=st.text())
def test_no_visible_text_acts_on_the_terminal(text: str) -> None:
    """For any text, each line is printable, and a terminal can encode it."""
    assert visible(text).isprintable()
    assert all(line.isprintable() for line in visible(text, lines=True).replace("\t", " ").split("\n"))
    visible(text).encode()


def test_bytes_that_are_not_utf_8_are_visible() -> None:
    """As escapes."""
    assert visible_bytes(b"a\xff\x1b\xc3\xa9") == "a\\xff\\x1b\u00e9"


def test_a_cut_is_visible() -> None:
    """An ellipsis within the limit marks it."""
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde\u2026"


def test_one_line_replaces_line_ends_and_is_bounded() -> None:
    """Runs of blanks become one; the limit counts characters."""
    assert one_line("a\r\n\x1b b\t c") == "a b c"
    assert one_line("x" * 9000) == "x" * 500
    assert one_line("abc", 2) == "ab"
