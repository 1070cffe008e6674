"""What ``mix-bridge topics`` finds and does: missing topics are created, existing ones are never altered.

And the commands that grant the bridge's user what it needs and nothing else, as in docs/security.md.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bridge.admin.check import lines as checks
from bridge.admin.check.line import State as CheckState
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topics import plan
from bridge.settings import Settings
from bridge.settings.naming import group_of, transactional_ids_of

_DATA: Final = ("Write", "DescribeConfigs")
_CHECKPOINTS: Final = ("Read", "Write", "DescribeConfigs")


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
    missing = [each for each in planned if each.name in found and found[each.name] is None]
    objections = admin.objections(missing)
    # The command creates topics also where `topics.create` keeps `run` from it.
    allowed = settings.model_copy(update={"topics": settings.topics.model_copy(update={"create": True})})
    rows = []
    for each in planned:
        line, config = checks.topic_line(each, found, objections, allowed), dict(each.config)
        state, detail = State.FAILED if line.state is CheckState.FAILED else State.EXISTS, line.detail
        if each in missing and each.name not in objections:
            changes = "".join(f", {key}={value}" for key, value in config.items())
            replicas = each.replication_factor or "the brokers' number"
            state, detail = State.MISSING, f"partitions: {each.partitions}, replicas: {replicas}{changes}"
        copies = each.replication_factor
        rows.append(Row(each.name, each.key, state, each.partitions, copies, config, detail, line.hint))
    return rows


def apply(settings: Settings, admin: TopicAdmin) -> list[Row]:
    """Create the missing topics, unless another one does not fit. Raises ``SettingsError``, ``Unreachable``."""
    rows, planned = look(settings, admin), plan(settings)
    if not is_ok(rows):
        return rows
    missing = {row.topic for row in rows if row.state is State.MISSING}
    admin.create([each for each in planned if each.name in missing])
    return [replace(row, state=State.CREATED) if row.topic in missing else row for row in rows]


def is_ok(rows: Sequence[Row]) -> bool:
    """Return whether each topic exists as it must, or can be created."""
    return all(row.state is not State.FAILED for row in rows)


def acl_commands(settings: Settings, principal: str | None = None) -> list[str]:
    """Return one ``kafka-acls.sh`` command for each kind of resource; ``principal`` such as ``User:mix-bridge``."""
    user = principal or f"User:{settings.kafka.sasl_username or 'mix-bridge'}"
    begin = ["kafka-acls.sh", "--bootstrap-server", settings.kafka.bootstrap_servers]
    if settings.kafka.security_protocol not in {None, "plaintext"}:
        begin += ["--command-config", "admin.properties"]
    begin += ["--add", "--allow-principal", user]
    planned, create = plan(settings), ("Create",) if settings.topics.create else ()
    rules = [
        _rule((*_DATA, *create), "topic", *(each.name for each in planned if not each.compacted)),
        _rule((*_CHECKPOINTS, *create), "topic", *(each.name for each in planned if each.compacted)),
        _rule(("Read",), "group", group_of(settings.namespace)),
    ]
    if settings.delivery.guarantee == "exactly_once":
        ids = _rule(("Write",), "transactional-id", transactional_ids_of(settings.namespace))
        rules.append([*ids, "--resource-pattern-type", "prefixed"])
    return [shlex.join([*begin, *rule]) for rule in rules]


def _rule(operations: tuple[str, ...], kind: str, *names: str) -> list[str]:
    allowed = [part for operation in operations for part in ("--operation", operation)]
    return allowed + [part for name in names for part in (f"--{kind}", name)]
