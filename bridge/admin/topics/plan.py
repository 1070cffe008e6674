"""What ``mix-bridge topics`` finds and does: missing topics are created, existing ones are never altered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bridge.admin.check import lines as checks
from bridge.admin.check.line import State as CheckState
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topics import TopicDescription, TopicPlan, plan
from bridge.settings import Settings


class State(StrEnum):
    """What is known about a topic."""

    EXISTS = "exists"
    MISSING = "missing"
    CREATED = "created"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """One topic that the settings need; partitions, replicas and settings are those of a new one."""

    topic: str
    setting: str
    state: State
    partitions: int
    replication_factor: int | None
    config: Mapping[str, str]
    detail: str
    hint: str | None = None

    def line(self) -> str:
        """Return the line for people."""
        return f"{self.state:<8}{self.topic}: {self.detail}" + (f" - {self.hint}" if self.hint else "")


def look(settings: Settings, admin: TopicAdmin) -> list[Row]:
    """Return what `apply` would do; nothing is created. Raises ``Unreachable``."""
    planned = plan(settings)
    found = admin.describe(planned, operations=True)
    objections = admin.objections([each for each in planned if _is_missing(each, found)])
    return [_row(each, found, objections, settings) for each in planned]


def apply(settings: Settings, admin: TopicAdmin) -> list[Row]:
    """Create the missing topics. Raises ``SettingsError`` when Kafka refuses one, ``Unreachable``.

    Nothing is created while another topic does not fit: a person must correct the settings first.
    """
    rows, planned = look(settings, admin), plan(settings)
    if not is_ok(rows):
        return rows
    missing = {row.topic for row in rows if row.state is State.MISSING}
    admin.create([each for each in planned if each.name in missing])
    return [replace(row, state=State.CREATED) if row.topic in missing else row for row in rows]


def is_ok(rows: Sequence[Row]) -> bool:
    """Return whether each topic exists as it must, or can be created."""
    return all(row.state is not State.FAILED for row in rows)


def _is_missing(planned: TopicPlan, found: Mapping[str, TopicDescription | None]) -> bool:
    return planned.name in found and found[planned.name] is None


def _row(
    planned: TopicPlan,
    found: Mapping[str, TopicDescription | None],
    objections: Mapping[str, str],
    settings: Settings,
) -> Row:
    if _is_missing(planned, found) and planned.name not in objections:
        return _made(planned, State.MISSING, _how(planned))
    # The command creates topics also where `topics.create` keeps `run` from it.
    allowed = settings.model_copy(update={"topics": settings.topics.model_copy(update={"create": True})})
    line = checks.topic_line(planned, found, objections, allowed)
    state = State.FAILED if line.state is CheckState.FAILED else State.EXISTS
    return _made(planned, state, line.detail, line.hint)


def _made(planned: TopicPlan, state: State, detail: str, hint: str | None = None) -> Row:
    return Row(
        planned.name,
        planned.key,
        state,
        planned.partitions,
        planned.replication_factor,
        dict(planned.config),
        detail,
        hint,
    )


def _how(planned: TopicPlan) -> str:
    copies = planned.replication_factor or "the brokers' number"
    config = "".join(f", {key}={value}" for key, value in planned.config.items())
    return f"partitions: {planned.partitions}, replicas: {copies}{config}"
