"""The record of an entry that is sent again from memory."""

from __future__ import annotations

from bridge.core.in_flight import Entry
from bridge.core.records.rules import Record
from bridge.delivery.in_flight import Window
from bridge.delivery.refusals import RefusedRecord


def encode_again(window: Window, entry: Entry, rejection: RefusedRecord | None) -> Record:
    """Under the number the entry has now; a dead letter when Kafka has refused it alone."""
    event = entry.event
    if event is None:
        raise AssertionError(f"{window.key}: a skipped event waits to be sent")
    if rejection is not None:
        return rejection.dead_letter(window.encoder, event, entry)
    record = window.encoder.encode(event, entry.epoch, entry.sequence)
    if record is None:
        raise AssertionError(f"{window.key}: an event that was numbered is skipped when encoded again")
    return record
