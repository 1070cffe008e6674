"""Patterns that commands accept for sessions, event types and the like. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(text: str, pattern: str | None) -> bool:
    """Whether the text is equal to the pattern or matches it (`fnmatch`); without a pattern, always."""
    return pattern is None or text == pattern or fnmatchcase(text, pattern)
