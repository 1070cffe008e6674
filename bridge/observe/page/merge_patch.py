"""The difference of two JSON objects as a JSON Merge Patch (RFC 7396). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that turns ``old`` into ``new``; empty if they are equal.

    Neither may contain null, because in a patch it removes a member. Arrays are replaced as a whole.
    """
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            if before != value:  # compared first: of thousands of sessions few have changed
                patch[name] = difference(before, value)
        elif before != value:
            patch[name] = value
    return patch
