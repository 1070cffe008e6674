"""Records as versions before 2 of the record form wrote them: ``sequence`` without the epoch before the number."""

from __future__ import annotations

import re
from collections.abc import Iterable

Headers = list[tuple[str, bytes]]

_MEMBER = re.compile(rb',"sequence":"[0-9]{10}:')
_HEADERS = {"ce_sequence", "bridge.sequence"}


def earlier_form(value: bytes, headers: Iterable[tuple[str, bytes]]) -> tuple[bytes, Headers]:
    """Value and headers of the same record in the earlier form; of all three formats, dead letters and lifecycle."""
    earlier = [(name, text.partition(b":")[2] if name in _HEADERS else text) for name, text in headers]
    is_envelope = dict(earlier).get("content-type", b"").startswith(b"application/cloudevents+json")
    return _MEMBER.sub(b',"sequence":"', value, count=1) if is_envelope else value, earlier
