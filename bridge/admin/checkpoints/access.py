"""The checkpoints topic of the settings, for the commands that look at it and write into it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from bridge.admin.checkpoints.edit import Edit
from bridge.cli.kafka_access import Access, access
from bridge.cli.options import Given
from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointLog
from bridge.core.terminal_text import visible
from bridge.errors import EXIT_FOUND, SettingsError, Unreachable
from bridge.settings.naming import group_of

if TYPE_CHECKING:
    from bridge.kafka.group import GroupMember
    from bridge.kafka.topics import TopicDescription, TopicPlan

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckpointsTopic:
    """The checkpoints topic as it is now."""

    opened: Access
    name: str
    partitions: int
    log: CheckpointLog

    @classmethod
    def read(cls, given: Given, *, create: bool = False) -> CheckpointsTopic:
        """Raises ``SettingsError`` when there is none and it may not be created, ``Unreachable``."""
        opened = access(given)
        from bridge.admin.checkpoints.topic import read_log  # noqa: PLC0415 - Kafka's client is slow to import

        name = opened.settings.topics.checkpoints
        partitions = (_made_sure_of(opened) if create else _found(opened)).partitions
        wait = _LED_WITHIN if create else 0.0
        log = _once_reached(lambda: read_log(opened.config, name, partitions), wait)
        return cls(opened, name, partitions, log)

    def refuse_if_owned(self, shards: Iterable[int]) -> None:
        """End the command, with 1, when a live bridge owns one of these shards, or nobody can tell."""
        from bridge.admin.checkpoints.owners import owning  # noqa: PLC0415 - as above

        owned = owning(self._members(), shards)
        if owned:
            shard, member = next(iter(owned.items()))
            more = f" and {len(owned) - 1} more" if len(owned) > 1 else ""
            they = f"{named([member])}, a live mix-bridge"
            _refuse(f"shard {shard} of {self.name}{more}: owned by {they}. {_STOP_IT}{_IT_NOTICES}")

    def refuse_if_any_lives(self) -> None:
        """End the command, with 1, when any bridge of the namespace lives, or nobody can tell."""
        if members := self._members():
            _refuse(f"mix-bridge lives: {named(members)}. {_STOP_IT}")

    def _members(self) -> tuple[GroupMember, ...]:
        from bridge.admin.checkpoints.owners import OwnersUnknown  # noqa: PLC0415 - as above

        try:
            return living(self.opened)
        except OwnersUnknown as unknown:
            _refuse(f"whether a live mix-bridge is at work is not known: {unknown}. {_NOT_KNOWN}")

    def write(self, edits: Sequence[Edit]) -> None:
        """Write them, and wait until Kafka has acknowledged each record."""
        from bridge.admin.checkpoints.topic import write_edits  # noqa: PLC0415 - Kafka's client is slow to import

        write_edits(self.opened.config, self.name, _found(self.opened).max_message_bytes, edits)


_LED_WITHIN = 10.0
"""Seconds for the brokers to begin with a new topic."""
_STOP_IT = "Stop it and run this again (one that was killed counts until kafka.group_session_timeout is over)"
_NOT_KNOWN = "Stop all of this namespace and say --force"
_IT_NOTICES = "; or write all the same with --force: it notices, and goes on from there"


def living(opened: Access) -> tuple[GroupMember, ...]:
    """The bridges of the namespace that live now. Raises ``OwnersUnknown``, which is ``Unreachable``."""
    from bridge.admin.checkpoints.owners import owners  # noqa: PLC0415 - Kafka's client is slow to import

    settings = opened.settings
    return owners(opened.config, group_of(settings.namespace), settings.topics.checkpoints)


def named(members: Iterable[GroupMember]) -> str:
    """For people."""
    return visible(", ".join(sorted({str(member) for member in members})))


def _refuse(why: str) -> NoReturn:
    typer.echo(f"refused, nothing is written: {why}", err=True)
    raise typer.Exit(EXIT_FOUND)


def _once_reached(read: Callable[[], T], within: float) -> T:
    """A topic that was just created is not to be seen for a moment, and then has no leaders."""
    end, never = monotonic() + within, threading.Event()
    while True:
        try:
            return read()
        except Unreachable:
            if monotonic() > end:
                raise
        never.wait(0.1)


def _found(opened: Access) -> TopicDescription:
    found, planned = _looked(opened)
    if found is None:
        raise SettingsError.of(
            "topics.checkpoints",
            f"there is no topic {planned.name}, or it may not be seen; allowed: the one of a daemon that has run (look"
            " at namespace too)",
        )
    return found


def _made_sure_of(opened: Access) -> TopicDescription:
    """The topic as a daemon will want it, created where it is missing."""
    from bridge.kafka.topic_admin import TopicAdmin  # noqa: PLC0415 - as below
    from bridge.kafka.topics import examine, needed_bytes  # noqa: PLC0415 - Kafka's client is slow to import

    found, planned = _looked(opened)
    if found is None and opened.settings.topics.create:
        TopicAdmin(opened.config).create([planned])
        found = _once_reached(lambda: _created(opened), _LED_WITHIN)
    found = found or _found(opened)
    if mistakes := examine(planned, found, needed_bytes(opened.settings)).mistakes:
        raise SettingsError(mistakes)
    return found


def _created(opened: Access) -> TopicDescription:
    found, planned = _looked(opened)
    if found is None:
        raise Unreachable(f"Kafka: created, but not yet to be seen: {planned.name}")
    return found


def _looked(opened: Access) -> tuple[TopicDescription | None, TopicPlan]:
    from bridge.kafka.topic_admin import TopicAdmin  # noqa: PLC0415 - as below
    from bridge.kafka.topics import plan  # noqa: PLC0415 - Kafka's client is slow to import

    (planned,) = (each for each in plan(opened.settings) if each.key == "topics.checkpoints")
    return TopicAdmin(opened.config).existing([planned]).get(planned.name), planned
