"""A snapshot of a daemon without problems."""

from __future__ import annotations

from bridge.core.snapshot import BridgeSnapshot

WELL = BridgeSnapshot(
    version="1.2.3",
    namespace="mix",
    started_at_ms=1_700_000_000_000,
    restored=True,
    buffer_bytes=0,
    buffer_limit=100,
    checkpoints_written=0,
    kafka_last_answer_age=0.1,
)
