"""The checkpoints topic of the settings, for the commands that look at it and write into it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import typer

from bridge.cli.kafka_access import Access, access
from bridge.cli.options import Given
from bridge.core.checkpoint_edit import Edit
from bridge.core.checkpoint_log import CheckpointLog
from bridge.errors import EXIT_FOUND, SettingsError
from bridge.settings.naming import group_of

if TYPE_CHECKING:
    from bridge.kafka.owners import GroupMember
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

    def refuse_if_owned(self, shards: Iterable[int]) -> None:
        """End the command, with 1, when a live bridge owns one of these shards, or nobody can tell."""
        from bridge.kafka.owners import owning  # noqa: PLC0415 - as above

        owned = owning(_living(self.opened), self.name, shards)
        if owned:
            shard, member = next(iter(owned.items()))
            more = f" and {len(owned) - 1} more" if len(owned) > 1 else ""
            _refuse(
                f"shard {shard} of {self.name}{more}: owned by {member}, a live mix-bridge. {_STOP_IT}{_IT_NOTICES}"
            )

    def refuse_if_any_lives(self) -> None:
        """End the command, with 1, when any bridge of the namespace lives, or nobody can tell."""
        living = _living(self.opened)
        if living:
            names = ", ".join(sorted({str(member) for member in living}))
            _refuse(f"mix-bridge lives: {names}. {_STOP_IT}")

    def write(self, edits: Sequence[Edit]) -> None:
        """Write them, and wait until Kafka has acknowledged each record."""
        from bridge.kafka.checkpoints import write_edits  # noqa: PLC0415 - Kafka's client is slow to import

        write_edits(self.opened.config, self.name, _found(self.opened).max_message_bytes, edits)


_STOP_IT = (
    "Stop it and run this again (killed, or stopped under an instance name, it counts until"
    " kafka.group_session_timeout is over)"
)
_IT_NOTICES = "; or write all the same with --force: it notices, and goes on from there"


def _living(opened: Access) -> tuple[GroupMember, ...]:
    from bridge.kafka.owners import OwnersUnknown, owners  # noqa: PLC0415 - Kafka's client is slow to import

    try:
        return owners(opened.config, group_of(opened.settings.namespace))
    except OwnersUnknown as unknown:
        _refuse(
            f"whether a live mix-bridge is at work is not known: {unknown}. Stop all of this namespace, then --force"
        )


def _refuse(why: str) -> NoReturn:
    typer.echo(f"refused, nothing is written: {why}", err=True)
    raise typer.Exit(EXIT_FOUND)


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
