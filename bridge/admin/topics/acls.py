"""The commands that grant the bridge's user what it needs and nothing else, as in docs/security.md. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from bridge.kafka.topics import plan
from bridge.settings import Settings
from bridge.settings.naming import group_of, transactional_ids_of

_DATA: Final = ("Write", "DescribeConfigs")
_CHECKPOINTS: Final = ("Read", "Write", "DescribeConfigs")


def acl_commands(settings: Settings, principal: str | None = None) -> list[str]:
    """Return one ``kafka-acls.sh`` command for each kind of resource; ``principal`` such as ``User:mix-bridge``."""
    user = principal or f"User:{settings.kafka.sasl_username or 'mix-bridge'}"
    begin = ["kafka-acls.sh", "--bootstrap-server", settings.kafka.bootstrap_servers]
    if settings.kafka.security_protocol not in {None, "plaintext"}:
        begin += ["--command-config", "admin.properties"]
    begin += ["--add", "--allow-principal", user]
    return [shlex.join([*begin, *rule]) for rule in _rules(settings)]


def _rules(settings: Settings) -> Iterator[list[str]]:
    planned, create = plan(settings), ("Create",) if settings.topics.create else ()
    yield _rule((*_DATA, *create), "topic", *(each.name for each in planned if not each.compacted))
    yield _rule((*_CHECKPOINTS, *create), "topic", *(each.name for each in planned if each.compacted))
    yield _rule(("Read",), "group", group_of(settings.namespace))
    if settings.delivery.guarantee == "exactly_once":
        ids = _rule(("Write",), "transactional-id", transactional_ids_of(settings.namespace))
        yield [*ids, "--resource-pattern-type", "prefixed"]


def _rule(operations: tuple[str, ...], kind: str, *names: str) -> list[str]:
    allowed = [part for operation in operations for part in ("--operation", operation)]
    return allowed + [part for name in names for part in (f"--{kind}", name)]
