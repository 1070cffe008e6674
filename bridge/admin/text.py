"""Times, sizes and counts as the commands print them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def timestamp(unix_ms: int) -> str:
    """``2026-01-31 23:59:59``, in UTC; a record may be without a time."""
    if unix_ms < 0:
        return "at an unknown time"
    return f"{datetime.fromtimestamp(unix_ms // 1000, UTC):%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """A number of bytes in its largest unit: ``155 B``, ``19.1 MiB``."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - the factor between the units
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def age(milliseconds: int) -> str:
    """A duration in its largest unit: ``12s``, ``5m``, ``3h``, ``9d``."""
    seconds = max(0, milliseconds // 1000)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def counted(count: int, noun: str) -> str:
    """``1 session``, ``2 sessions``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def aligned(pairs: Sequence[tuple[str, str]], indent: int = 2) -> list[str]:
    """Lines of a name and a value, the values in one column."""
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{' ' * indent}{name:<{width}}  {value}" for name, value in pairs]
