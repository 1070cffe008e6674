"""Durations (``500ms``, ``10s``, ``2m``, ``7d``; float seconds) and sizes (``64KiB``, ``1MiB``; int bytes). Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(ms|s|m|h|d)?")
_SIZE = re.compile(r"([0-9]{1,18})(B|KiB|MiB|GiB)?")
_MILLISECONDS = {"ms": 1, None: 1000, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


_DAY = 86_400


def parse_duration(text: str) -> float:
    """Seconds; a number without a unit is seconds. ValueError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a duration")
    # Decimal avoids rounding errors: 0.1 h is exactly 360.0 s
    return float(Decimal(match[1]) * _MILLISECONDS[match[2]] / 1000)


def format_duration(seconds: float) -> str:
    """The shortest exact text that `parse_duration` reads back as the same float."""
    if seconds > _DAY and seconds % _DAY == 0:  # people write 24h for one day
        return f"{seconds / _DAY:.0f}d"
    if seconds and seconds % 3600 == 0:
        return f"{seconds / 3600:.0f}h"
    if seconds % 1 == 0:
        return f"{seconds:.0f}s"
    exact = Decimal(repr(seconds))
    if exact * 1000 % 1 == 0:
        return f"{exact * 1000:.0f}ms"
    return f"{exact:f}s"


def parse_size(text: str) -> int:
    """Bytes; a number without a unit is bytes. ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a size")
    return int(match[1]) * _BYTES[match[2]]


def format_size(size: int) -> str:
    """The shortest exact text that `parse_size` reads back as the same number."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)
