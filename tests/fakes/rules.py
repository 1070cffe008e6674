"""The rules of a bridge with the default settings, for tests that encode records."""

from __future__ import annotations

from bridge.core.records.rules import Rules
from bridge.mix.events import VALIDATORS

RULES = Rules(
    format="structured",
    type_prefix="mix.",
    skip=frozenset(),
    unknown="publish",
    invalid="dead_letter",
    max_bytes=900 * 1024,
    events_topic="mix.events",
    dead_letters_topic="mix.dead-letters",
    schema=VALIDATORS,
)
