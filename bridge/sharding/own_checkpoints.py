"""The checkpoints that this process has written to one shard, as its reader sees them in Kafka."""

from __future__ import annotations

from bridge.core.checkpoint_log import CheckpointRecord
from bridge.core.records.checkpoint import position_in, token_suffix


class OwnCheckpoints:
    """Recognises own checkpoints, and those that landed late: one of a producer that was replaced since.

    Brokers may still append what such a producer has sent, behind the newer checkpoints of the next one. Thread rule:
    the reader's thread.
    """

    def __init__(self) -> None:
        self.suffixes: tuple[bytes, ...] = ()
        """How they end: one for each claim, since a checkpoint that was on its way at a claim has an earlier token."""
        self.token = -1
        """The newest claim."""
        self._newest: dict[bytes, int] = {}
        self._read_to = -1

    def claimed(self, token: int) -> None:
        """Note a claim of this process."""
        self.token, self.suffixes = token, (*self.suffixes, token_suffix(token))

    def of_recreated_topic(self) -> OwnCheckpoints:
        """For a new topic: offsets start at 0 again; checkpoints that were on their way have the former tokens."""
        own = OwnCheckpoints()
        own.token, own.suffixes = self.token, self.suffixes
        return own

    def note(self, record: CheckpointRecord) -> None:
        """A record that is read before the present claim; if it is late, its history shows it."""
        if self.suffixes and record.value.endswith(self.suffixes):
            self.is_late(record.offset, record.key, record.value)

    def is_late(self, offset: int, key: bytes, value: bytes) -> bool:
        """Whether an own record has a lower position than the one before it with this key; called for each, in order.

        Each such record is reported once: a new client of the reader reads them again.
        """
        if offset <= self._read_to:
            return False
        self._read_to = offset
        position = position_in(value)
        if position is None:
            return False
        before = self._newest.get(key, -1)
        self._newest[key] = position
        return position < before
