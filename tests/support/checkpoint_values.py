"""Values of checkpoint records, written without the code of the bridge."""

from __future__ import annotations

import json

COMPACTED = {"cleanup.policy": "compact"}


def encoded(session: str, **more: object) -> bytes:
    """A checkpoint with only the documented keys."""
    members = {
        "version": 1,
        "server": "local",
        "session": session,
        "last_event_id": "2",
        "epoch": 1_700_000_000,
        "sequence": 2,
        "state": "active",
        "updated_at": "2026-01-01T00:00:00.000Z",
        **more,
    }
    return json.dumps(members).encode()
