"""The dead letter of a record that Kafka refused although it was alone in its request."""

from __future__ import annotations

from typing import NamedTuple

from bridge.core.entries import Batch
from bridge.core.records.encoder import Encoder
from bridge.core.records.headers import MARKER_BYTES, prefix
from bridge.core.records.record import Encoded, counts_of
from bridge.kafka.errors import ProduceError, in_words, is_for_size


class RefusedRecord(NamedTuple):
    """A record that Kafka refused although it was alone in its request. Its dead letter goes under its number."""

    error: str
    most_bytes: int | None
    """Of its data in the dead letter. None: all of it."""

    @classmethod
    def of(cls, error: ProduceError) -> RefusedRecord:
        """The first refusal: the dead letter holds all of the data."""
        return cls(in_words(error), None)

    def again(self, error: ProduceError) -> RefusedRecord | None:
        """The dead letter was refused as well: a smaller one; None when its size is not the reason."""
        if self.most_bytes == 0 or not is_for_size(error):
            return None
        return self._replace(most_bytes=MARKER_BYTES if self.most_bytes is None else self.most_bytes // 16)

    def dead_letter(self, encoder: Encoder, batch: Batch) -> Encoded:
        """The batch with the dead letter in place of its only record."""
        encoded = encode_batch(encoder, batch)
        place = 0 if encoded.places is None else encoded.places[0]
        letter = encoder.rejected(batch.events[place], batch.epoch, batch.sequence, self.error)
        if self.most_bytes is not None:
            letter = letter._replace(value=prefix(letter.value, self.most_bytes))
        return encoded._replace(records=[letter], counts=counts_of([letter]))


def encode_batch(encoder: Encoder, batch: Batch) -> Encoded:
    """The records of a batch under the numbers it has now."""
    encoded = encoder.encode_batch(batch.events, batch.epoch, batch.start.sequence, batch.start.last_event_id)
    if len(encoded.records) != batch.count:
        raise AssertionError(f"{batch.count} numbered events became {len(encoded.records)} records")
    return encoded
