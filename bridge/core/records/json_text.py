"""Whether a text is JSON (RFC 8259), decided in one place.

The fast parsers disagree in rare cases: some accept ``NaN``, some refuse lone surrogate escapes or numbers of 5000
digits. The decision must depend on the text alone. So a text that pydantic-core accepts is JSON, and a text that it
refuses is checked against the grammar itself, without recursion.

Python's ``json`` with strict hooks cannot replace the grammar: it raises ``RecursionError`` at a depth that depends on
the caller's stack (measured on 3.11: at 1000 from an empty stack, below 400 under 700 frames), and `plain` and
`indented` need the tokens anyway. It would cost 1.1 us for a small event instead of pydantic-core's 0.4 us; the grammar
costs 5 us, but only texts that pydantic-core refuses pay that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic_core import from_json

MAX_DEPTH = 500
"""Deeper nesting does not count as JSON (RFC 8259, section 9, allows a limit): Python's json and Jackson, which
consumers use, stop near 1000, and an envelope that they cannot read would be worse than data inside a string."""

_BLANK = r"[ \t\n\r]*+"
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
_ANY_VALUE = rf"(?P<scalar>{_STRING}|{_NUMBER}|true|false|null)|(?P<array>\[)|(?P<object>\{{)"
_ANY_KEY = rf"(?P<key>{_STRING}{_BLANK}:)"


def _expectation(alternatives: str) -> re.Pattern[str]:
    return re.compile(f"{_BLANK}(?:{alternatives})")


# What may come next, one pattern per situation; the name of the group that matched is the kind of token.
_VALUE = _expectation(_ANY_VALUE)
_FIRST_ITEM = _expectation(rf"{_ANY_VALUE}|(?P<close>\])")
_FIRST_KEY = _expectation(rf"{_ANY_KEY}|(?P<close>\}})")
_KEY = _expectation(_ANY_KEY)
_AFTER_ITEM = _expectation(r"(?P<item>,)|(?P<close>\])")
_AFTER_MEMBER = _expectation(r"(?P<member>,)|(?P<close>\})")
_END = _expectation(r"(?P<end>\Z)")

_NEXT = {"array": _FIRST_ITEM, "object": _FIRST_KEY, "key": _VALUE, "item": _VALUE, "member": _KEY}
_AFTER_CONTENT = {"array": _AFTER_ITEM, "object": _AFTER_MEMBER}

_PLAIN_DEPTH = 50  # deeper than any schema looks, and well below the depth at which parsers fail
_PLAIN_DIGITS = 30  # more digits do not change the type, and some parsers refuse them (Python: over 4300)
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class NotJson(ValueError):
    """The text violates the grammar or nests too deeply; the message names the place, without any of the text."""


def json_violation(text: str) -> str | None:
    """None if the text is JSON, else one line that names the place of the first error, without any of the text."""
    try:
        from_json(text, allow_inf_nan=False, cache_strings="none")
    except ValueError:
        return _grammar_violation(text)
    return None


def plain(text: str) -> str:
    """The same value in a form that every parser accepts, to check types only. Raises `NotJson`.

    The contents of deep parts, long numbers and lone surrogates are replaced.
    """
    return "".join(_plain_tokens(text))


def indented(text: str) -> str:
    """The same JSON with one member or item per line; strings and numbers stay unchanged. Raises `NotJson`.

    For people: to parse and write it again would hide a repeated key, or the notation of a number.
    """
    return "".join(_laid_out(text))


_DEEPEST_INDENT = 20  # deeper parts stay in that column: a megabyte of brackets must not become a gigabyte of blanks
_OPENS = frozenset({"array", "object"})


def _laid_out(text: str) -> Iterator[str]:
    before = ""
    for kind, token, depth in _tokens(text):
        last, before = before, kind
        if kind == "end":
            return
        if kind == "close":
            yield "" if last in _OPENS else _line(depth - 1)
        elif last in _OPENS or last in {"item", "member"}:
            yield _line(depth)
        text = token.strip(" \t\n\r")
        yield f"{text[:-1].rstrip()}: " if kind == "key" else text


def _line(depth: int) -> str:
    return "\n" + "  " * min(depth, _DEEPEST_INDENT)


def _grammar_violation(text: str) -> str | None:
    try:
        for _ in _tokens(text):
            pass
    except NotJson as error:
        return str(error)
    return None


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and depth of each token, in order; raises `NotJson` at the first token that is not allowed there."""
    after = [_END]  # what may follow the value that ends next; one entry more for each open bracket
    expected = _VALUE
    position = 0
    while (token := expected.match(text, position)) is not None:
        kind = str(token.lastgroup)
        yield kind, token[0], len(after) - 1
        if kind == "end":
            return
        position = token.end()
        if kind in _AFTER_CONTENT:
            after.append(_AFTER_CONTENT[kind])
            if len(after) > MAX_DEPTH + 1:
                raise NotJson(f"nested deeper than {MAX_DEPTH}")
        elif kind == "close":
            after.pop()
        expected = _NEXT.get(kind) or after[-1]
    raise NotJson(f"not JSON (RFC 8259) after character {position}")


def _plain_tokens(text: str) -> Iterator[str]:
    for kind, token, depth in _tokens(text):
        if depth > _PLAIN_DEPTH:
            if kind == "close" and depth == _PLAIN_DEPTH + 1:
                yield token
        elif kind == "scalar" and len(token) > _PLAIN_DIGITS and not token.lstrip().startswith('"'):
            yield "0"
        else:
            yield _ESCAPE.sub(_without_lone_surrogate, token) if "\\" in token else token


def _without_lone_surrogate(escape: re.Match[str]) -> str:
    return "\\ufffd" if escape["lone"] else escape[0]
