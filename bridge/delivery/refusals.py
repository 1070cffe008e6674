"""Records that Kafka refuses whatever stands beside them: they go to the dead letters."""

from __future__ import annotations

from typing import NamedTuple

from bridge.core.in_flight import Entry
from bridge.core.records.headers import MARKER_BYTES, prefix
from bridge.core.records.rules import Encoder, Record
from bridge.core.stream.event import Event
from bridge.kafka.errors import ProduceError, in_words, is_for_size


class RefusedRecord(NamedTuple):
    """A record that Kafka refused though it was alone in its batch."""

    error: str
    kept: int | None
    """This many bytes of its data at most: it was refused for its size. None: all of them."""

    @classmethod
    def of(cls, error: ProduceError) -> RefusedRecord:
        """The first refusal."""
        return cls(in_words(error), MARKER_BYTES if is_for_size(error) else None)

    def again(self, error: ProduceError) -> RefusedRecord | None:
        """The dead letter was refused as well: a smaller one, or None when its size is not what is wrong with it."""
        if self.kept == 0 or not is_for_size(error):
            return None
        return self._replace(kept=MARKER_BYTES if self.kept is None else self.kept // 16)

    def dead_letter(self, encoder: Encoder, event: Event, entry: Entry) -> Record:
        """The record that goes in its place, under its number."""
        letter = encoder.rejected(event, entry.epoch, entry.sequence, self.error, cut=self.kept is not None)
        return letter if self.kept is None else letter._replace(value=prefix(letter.value, self.kept))
