"""Looks at what the replicas of a namespace share, for ``mix-bridge check``: it joins nothing and writes no record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.admin.check import replica_lines as said
from bridge.admin.check.broker_limits import BrokerLimits, ask_for_limits
from bridge.admin.check.group import members_metadata_of, survey_group
from bridge.admin.check.lines import Line
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.transaction_trial import try_transactions
from bridge.settings import Settings
from bridge.settings.naming import group_of, trial_transactional_id


def check_replicas(
    settings: Settings, config: Mapping[str, Any], shards: int | None, patience: float
) -> Iterator[Line]:
    """Lines about the group, the replicas that run and, where they are wanted, transactions.

    ``shards``: partitions of the checkpoints topic, None where there is none. Each question waits for ``patience``
    seconds at most.
    """
    limits = ask_for_limits(config, patience)
    yield from _group(settings, config, shards, limits, patience)
    if settings.delivery.guarantee == "exactly_once":
        yield _transactions(settings, config, limits, patience)


def _group(
    settings: Settings, config: Mapping[str, Any], shards: int | None, limits: BrokerLimits, patience: float
) -> Iterator[Line]:
    group, topic = group_of(settings.namespace), settings.topics.checkpoints
    try:
        found = survey_group(config, group, topic, patience)
        yield said.group_line(settings, found, limits)
        if found.seen.members and shards is not None:
            members_metadata = members_metadata_of(config, group, topic, shards, patience)
            line = said.replicas_line(settings, found.seen.members, members_metadata)
            yield from [line] if line is not None else []
    except (SettingsError, Unreachable) as error:
        yield said.group_refused(settings, error)


def _transactions(settings: Settings, config: Mapping[str, Any], limits: BrokerLimits, patience: float) -> Line:
    try:
        try_transactions(config, trial_transactional_id(settings.namespace), patience)
    except (SettingsError, Unreachable) as error:
        return said.transactions_refused(error, limits)
    return said.transactions_begin(settings)
