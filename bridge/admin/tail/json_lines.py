"""The JSON Lines of ``mix-bridge tail --format json``. Pure."""

from __future__ import annotations

import json
import re

from bridge.clock import rfc3339
from bridge.consumer import Event
from bridge.core.records.json_text import json_violation

_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff]")
"""Characters that act on a terminal or hide. In JSON they stand inside strings only, where an escape means the same."""


def json_line(event: Event) -> str:
    """Return one line: the fields of the event, and its data as JSON with its digits and order unchanged.

    Data that is no JSON is in ``text`` instead of ``data``.
    """
    fields: dict[str, object] = {
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "server": event.server,
        "session": event.session,
        "type": event.type,
        "epoch": event.epoch,
        "number": event.number,
        "sequence": event.sequence,
        "id": event.id,
        "time": rfc3339(round(event.time.timestamp() * 1000)),
        "sse_id": event.sse_id,
        "replayed": event.replayed,
    }
    if event.dead_letter is not None:
        fields |= {"dead_letter": event.dead_letter, "error": event.error}
    text = event.data.decode("utf-8", "replace")
    if json_violation(text) is not None:
        return _safe(json.dumps(fields | {"text": text}, ensure_ascii=False))
    # Line ends in JSON are whitespace between its parts.
    one_line = text.strip(" \t\r\n").replace("\r", " ").replace("\n", " ").replace("\t", " ")
    return _safe(f'{json.dumps(fields, ensure_ascii=False)[:-1]}, "data": {one_line}}}')


def _safe(line: str) -> str:
    return _INVISIBLE.sub(_escape, line)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
