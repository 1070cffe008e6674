"""Every attribute, header and member of the records, with its meaning. docs/records.md describes the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from bridge.core.records.headers import Reason

_EPOCH = "^[0-9]{10}$"
_SEQUENCE = "^[0-9]{10}:[0-9]{12}$"
_TRACEPARENT = "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$"

Schema = dict[str, Any]


def _text(description: str, **more: Any) -> Schema:  # noqa: ANN401 - keywords of JSON Schema
    return {"type": "string", "description": description, **more}


ATTRIBUTES: Mapping[str, Schema] = {
    "specversion": _text("Version of CloudEvents", const="1.0"),
    "id": _text("<epoch>:<number>", pattern=_SEQUENCE),
    "source": _text("/mix/<server>/sessions/<session id>, percent-encoded where needed", format="uri-reference"),
    "type": _text("events.type_prefix and the SSE event name"),
    "subject": _text("Session id"),
    "time": _text("When the bridge received the event, in UTC; a repeat has its own", format="date-time"),
    "datacontenttype": _text("text/plain when the data is not JSON", enum=["application/json", "text/plain"]),
    "sequence": _text("Orders all events of a session by string comparison; equal to id", pattern=_SEQUENCE),
    "epoch": _text("Numbering epoch of the session", pattern=_EPOCH),
    "sseid": _text("The event's own SSE id; absent if it has none"),
    "replayed": {"description": "Sent by `dead-letters replay`; otherwise absent", "enum": [True, "true"]},
    "traceparent": _text("W3C trace context; with telemetry.traceparent=on", pattern=_TRACEPARENT),
    "dataschema": _text("URI of the schema of the data; with schemas.dataschema", format="uri"),
}
"""CloudEvents attributes: members of a structured record, ``ce_`` headers of a binary one."""
OPTIONAL_ATTRIBUTES = frozenset({"sseid", "replayed", "traceparent", "dataschema"})

HEADERS: Mapping[str, Schema] = {
    "bridge.server": _text("Server of the session"),
    "bridge.session": _text("Session id"),
    "bridge.event": _text("SSE event name, at most 8 KiB"),
    "bridge.last_event_id": _text("The stream's last event id after the event, at most 8 KiB"),
    "bridge.epoch": _text("As the attribute epoch", pattern=_EPOCH),
    "bridge.sequence": _text("As the attribute sequence", pattern=_SEQUENCE),
    "bridge.received_at": _text("As the attribute time", format="date-time"),
    "bridge.bytes": _text("Size of the whole data", pattern="^[0-9]+$"),
    "bridge.sha256": _text("SHA-256 of the whole data", pattern="^[0-9a-f]{64}$"),
    "bridge.replayed": _text("Sent by `dead-letters replay`; otherwise absent", const="true"),
    "bridge.reason": _text("Why it is a dead letter", enum=[*get_args(Reason)]),
    "bridge.error": _text("What was wrong, on one line, without the data"),
}
"""Headers of raw records and dead letters."""
DEAD_LETTER_ONLY = frozenset({"bridge.reason", "bridge.error"})

LIFECYCLE_DATA: Mapping[str, Schema] = {
    "reason": _text("A code, for programs; others may be added"),
    "detail": _text("A sentence, for people"),
    "from_last_event_id": {"type": ["string", "null"], "description": "Last id before; a long one is cut"},
    "to_last_event_id": {"type": ["string", "null"], "description": "First id after; a long one is cut"},
    "missing": {"type": ["integer", "null"], "minimum": 0, "description": "Missing events; null if unknown"},
    "new_epoch": _text(
        "The epoch that begins with the next event; absent if the present one continues", pattern=_EPOCH
    ),
}
LIFECYCLE_KINDS = ("attached", "resumed", "gap", "reset", "unresumable", "ended")
