"""Text of strangers made safe for a terminal: what it shows is what is there, and nothing of it acts.

An agent's output is anybody's text. An escape sequence in it could move the cursor, rename the window or hide a line; a
bidirectional override could show an id backwards; a zero-width character could make two ids look alike.
"""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
ELLIPSIS = "…"


def visible(text: str, *, lines: bool = False) -> str:
    r"""The text with everything that is no visible character as an escape: ``\x1b``, ``\u202e``.

    ``lines`` keeps line ends and tabs. Backslashes stay as they are: this is for eyes, not for reading back.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c in "\n\t") else _escaped(c) for c in text)


def visible_bytes(raw: bytes, *, lines: bool = False) -> str:
    r"""As `visible`, of bytes that should be UTF-8; those that are not are shown as ``\xff``."""
    return visible(raw.decode("utf-8", "backslashreplace"), lines=lines)


def shortened(text: str, limit: int) -> str:
    """At most so many characters, the last of them an ellipsis where something was cut off."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + ELLIPSIS


def columns(rows: Sequence[tuple[str, ...]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as aligned lines, two blanks between columns; the last column is not padded. ``right``: numbers' columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(row, widths, right)).rstrip() for row in rows]


def _padded(row: tuple[str, ...], widths: list[int], right: frozenset[int]) -> list[str]:
    last = len(row) - 1
    return [
        cell.rjust(width) if at in right else cell if at == last else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code <= 0xFF:  # noqa: PLR2004 - two hex digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four hex digits
