"""The checkpoints topic of the settings, for the commands that look at it and write into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.cli.kafka_access import Access, access
from bridge.cli.options import Given
from bridge.core.checkpoint_edit import Edit
from bridge.core.checkpoint_log import CheckpointLog
from bridge.errors import SettingsError

if TYPE_CHECKING:
    from bridge.kafka.topics import Found


@dataclass(frozen=True, slots=True)
class CheckpointsTopic:
    """The checkpoints topic as it is now."""

    opened: Access
    name: str
    partitions: int
    log: CheckpointLog

    @classmethod
    def read(cls, given: Given) -> CheckpointsTopic:
        """Raises ``SettingsError`` when there is none, ``Unreachable``."""
        opened = access(given)
        from bridge.kafka.checkpoints import read_log  # noqa: PLC0415 - as below
        from bridge.kafka.topic_reader import never  # noqa: PLC0415 - Kafka's client is slow to import

        name = opened.settings.topics.checkpoints
        partitions = _found(opened).partitions
        return cls(opened, name, partitions, read_log(opened.config, name, partitions, never))

    def write(self, edits: Sequence[Edit]) -> None:
        """Write them, and wait until Kafka has acknowledged each record."""
        from bridge.kafka.checkpoints import write_edits  # noqa: PLC0415 - Kafka's client is slow to import

        write_edits(self.opened.config, self.name, _found(self.opened).max_message_bytes, edits)


def _found(opened: Access) -> Found:
    from bridge.kafka.topics import TopicAdmin, plan  # noqa: PLC0415 - Kafka's client is slow to import

    name = opened.settings.topics.checkpoints
    found = TopicAdmin(opened.config).describe([each for each in plan(opened.settings) if each.name == name])
    if name not in found:
        raise SettingsError.of(
            "topics.checkpoints",
            f"there is no topic {name}, or it may not be seen; allowed: the one of a daemon that has run (look at"
            " namespace too)",
        )
    return found[name]
