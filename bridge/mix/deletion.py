"""The event by which a Mix server says that a session is over."""

from __future__ import annotations

import json

from bridge.core.stream.event import Event


def deletes(event: Event, session_id: str) -> bool:
    """Whether this event says that the session was deleted: its stream tells of others' ends as well."""
    if event.name != "session_deleted":
        return False
    try:
        value = json.loads(event.data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("sessionId") == session_id
