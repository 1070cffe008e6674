"""Dead letters as the bridge writes them, and the rules that make them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import DeadLetter, Place, dead_letter_of
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import Record
from bridge.core.stream.event import Event
from bridge.mix.events import SCHEMA_VERSION
from tests.fakes.rules import RULES as DEFAULT_RULES

RULES = replace(DEFAULT_RULES, skip=frozenset({"thinking"}), schema_version=SCHEMA_VERSION)
KEY = SessionKey("local", "5e55")
MS = 1_764_000_000_123
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def letter_record(data: str = "{", name: str = "content", key: SessionKey = KEY, **more: Any) -> Record:
    """Build a dead letter as the bridge writes it."""
    event = Event(name, data, "41", "41", MS)._replace(**more)
    return Encoder(RULES, key).rejected(event, 1_764_000_000, 7, "refused")


def read(record: Record) -> DeadLetter:
    """Parse the dead letter in a record."""
    return dead_letter_of(Place(3, 120), MS + 5, record.key, record.value, record.headers)
