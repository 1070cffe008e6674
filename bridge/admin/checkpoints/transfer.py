"""Exports the positions of all sessions, and imports them into another topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.admin.checkpoints.edit import Edit, epoch_floors, exactly_once_notes, is_behind, is_imported, moved
from bridge.admin.checkpoints.export import Export, Header, position_of
from bridge.admin.checkpoints.topic import REFUSED, CheckpointsTopic, Refused
from bridge.admin.text import counted
from bridge.clock import rfc3339, unix_ms
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.terminal_text import visible
from bridge.errors import SettingsError
from bridge.sharding.invalid_checkpoints import mistakes_of

_MAX_NAMES = 20


def exported(topic: CheckpointsTopic) -> Export:
    """Export all positions. Raises `SettingsError` with the checkpoints that a start would refuse."""
    if invalid := [each for each in topic.log.invalid if each.misplaced is None]:
        raise SettingsError(mistakes_of(topic.name, invalid))
    positions = [position_of(stored) for stored in topic.log.stored_checkpoints().values()]
    checkpoints = tuple(one for one in positions if one is not None)
    header = Header(
        namespace=topic.access.settings.namespace,
        topic=topic.name,
        partitions=topic.partitions,
        exported_at=rfc3339(unix_ms()),
        count=len(checkpoints),
        forgotten_epoch=topic.log.owners.highest_forgotten_epoch,
        exactly_once=topic.log.owners.may_have_transactions,
    )
    return Export(header, checkpoints)


@dataclass(frozen=True, slots=True)
class Import:
    """The edits of an import."""

    edits: Sequence[Edit]
    already: int
    """Positions that an earlier import has written."""
    behind: Sequence[Checkpoint]
    """Positions of sessions that continued after the export."""
    of_shards: Sequence[Edit] = ()
    """For each partition that lacks them: the highest epoch of forgotten sessions, and that there was exactly once."""

    @classmethod
    def plan(cls, export: Export, topic: CheckpointsTopic) -> Import:
        """Compare the export with the topic.

        The positions continue in a new epoch: the old one may contain records that were published after the export.
        """
        edits, already, behind, now_ms = [], 0, [], unix_ms()
        stored_checkpoints = topic.log.stored_checkpoints()
        for one in export.checkpoints:
            stored = stored_checkpoints.get(one.key.record_key) or topic.log.stored(one.key.record_key)
            if is_imported(one, stored):
                already += 1
                continue
            if is_behind(one, stored):
                behind.append(one)
            edits.append(moved(one, stored, topic.partitions, now_ms))
        of_shards = epoch_floors(topic.log, topic.partitions, export.header.forgotten_epoch)
        if export.header.exactly_once:
            of_shards += exactly_once_notes(topic.log, topic.partitions)
        return cls(edits, already, behind, of_shards)

    def refuse_if_behind(self, topic: CheckpointsTopic) -> None:
        """Raise `Refused` if a session continued after the export."""
        if self.behind:
            names = [f"  {visible(str(one.key))}" for one in self.behind[:_MAX_NAMES]]
            names += [f"  and {len(self.behind) - _MAX_NAMES} more"] if len(self.behind) > _MAX_NAMES else []
            why = f"{counted(len(self.behind), 'session')} continued in {topic.name} after the export"
            effect = "--force imports anyway: events published since then are published again"
            raise Refused("\n".join([f"{REFUSED} {why} ({effect}):", *names]))

    def document(self, export: Export, topic: CheckpointsTopic) -> dict[str, Any]:
        """Return the document of ``import``."""
        return {
            "topic": topic.name,
            "partitions": topic.partitions,
            "imported": len(self.edits),
            "already_there": self.already,
            "taken_back": len(self.behind),
            "from": export.header.model_dump(),
        }

    def line(self, export: Export, topic: CheckpointsTopic) -> str:
        """Return the result in one line."""
        header = export.header
        source = f"exported {visible(header.exported_at)} from {visible(header.topic)}"
        source += f", {counted(header.partitions, 'partition')}"
        return f"{topic.name}: {'; '.join(self._counts(topic)) or 'no position to write'} ({source})"

    def _counts(self, topic: CheckpointsTopic) -> Iterator[str]:
        if self.edits:
            shards = Counter(edit.writes[0].partition for edit in self.edits)
            where = f"{len(shards)} of {counted(topic.partitions, 'partition')}"
            yield f"{counted(len(self.edits), 'position')} written to {where}, acknowledged"
        if self.already:
            yield f"{counted(self.already, 'position')} imported before"


def refuse_foreign(export: Export, topic: CheckpointsTopic) -> None:
    """Raise `Refused` if the export is of another namespace."""
    own = topic.access.settings.namespace
    if export.header.namespace != own:
        other = visible(export.header.namespace)
        raise Refused(f"{REFUSED} the positions are of namespace {other}, not {own} (--force imports them anyway)")
