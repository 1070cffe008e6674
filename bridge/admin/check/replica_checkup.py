"""Checks what the replicas of a namespace share; it joins no group and writes no record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.admin.check import replica_lines as checks
from bridge.admin.check.lines import Line
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.broker_limits import BrokerLimits, read_broker_limits
from bridge.kafka.group import describe_group, members_metadata_of
from bridge.kafka.transaction_trial import try_transactions
from bridge.settings import Settings
from bridge.settings.naming import group_of, trial_transactional_id


def check_replicas(settings: Settings, config: Mapping[str, Any], shards: int | None, timeout: float) -> Iterator[Line]:
    """Check the group, the running replicas and, with exactly once, transactions.

    ``shards``: partitions of the checkpoints topic, None without one; ``timeout``: seconds for each request.
    """
    limits = read_broker_limits(config, timeout)
    yield from _group(settings, config, shards, limits, timeout)
    if settings.delivery.guarantee == "exactly_once":
        yield _transactions(settings, config, limits, timeout)


def _group(
    settings: Settings, config: Mapping[str, Any], shards: int | None, limits: BrokerLimits, timeout: float
) -> Iterator[Line]:
    group, topic = group_of(settings.namespace), settings.topics.checkpoints
    try:
        found = describe_group(config, group, topic, timeout)
        yield checks.group_line(settings, found, limits)
        if found.members and shards is not None:
            metadata = members_metadata_of(config, group, topic, shards, timeout)
            line = checks.replicas_line(settings, found.members, metadata)
            yield from [line] if line is not None else []
    except (SettingsError, Unreachable) as error:
        yield checks.refused(f"group {group}", error)


def _transactions(settings: Settings, config: Mapping[str, Any], limits: BrokerLimits, timeout: float) -> Line:
    try:
        try_transactions(config, trial_transactional_id(settings.namespace), timeout)
    except (SettingsError, Unreachable) as error:
        return checks.transactions_refused(error, limits)
    return checks.transactions_allowed(settings)
