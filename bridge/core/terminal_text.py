"""Text from servers and topics made safe to print: every character is visible, and none acts on the terminal.

Anybody can write an agent's output. An escape sequence in it could move the cursor, rename the window or hide a line; a
bidirectional override could show an id backwards; a zero-width character could make two ids look alike.
"""

from __future__ import annotations

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
ELLIPSIS = "…"


def visible(text: str, *, lines: bool = False) -> str:
    r"""The text with each character that is not visible as an escape: ``\x1b``, ``\u202e``.

    ``lines`` keeps line ends and tabs. Backslashes stay: the result is for people, not for a parser.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c in "\n\t") else _escaped(c) for c in text)


def one_line(text: str, limit: int = 500) -> str:
    """The text on one line of at most ``limit`` characters; other than printable characters become blanks."""
    cut = text[: 4 * limit]  # first: an error text may have a megabyte
    return " ".join("".join(c if c.isprintable() else " " for c in cut).split())[:limit]


def visible_bytes(raw: bytes, *, lines: bool = False) -> str:
    r"""As `visible`, for bytes that should be UTF-8; other bytes become ``\xff``."""
    return visible(raw.decode("utf-8", "backslashreplace"), lines=lines)


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters; the last one is an ellipsis if the text was longer."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + ELLIPSIS


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code <= 0xFF:  # noqa: PLR2004 - two hex digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four hex digits
