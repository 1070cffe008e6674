"""How the daemon prepares and watches its topics: on a real Kafka, or not at all on the demo's embedded one."""

from __future__ import annotations

from collections.abc import Callable

from bridge.daemon.topic_watch import Follower, NoTopicWatch, TopicWatch
from bridge.kafka.config import client_config
from bridge.kafka.topic_admin import TopicAdmin, prepare
from bridge.kafka.topics import TopicLimits
from bridge.kafka.transactions import try_transactions
from bridge.settings import Settings
from bridge.settings.naming import trial_transactional_id

Prepare = Callable[[Settings], TopicLimits]
Watch = Callable[[Settings, TopicLimits, Follower], TopicWatch | NoTopicWatch]

_TRIAL = 3.0
"""Seconds for Kafka to begin a trial transaction: a signal is noticed only between two attempts."""


def prepare_topics(settings: Settings) -> TopicLimits:
    """Create or check the topics, and check that Kafka allows the transactions that the settings need."""
    config = client_config(settings.kafka, "mix-bridge")
    limits = prepare(settings, TopicAdmin(config))
    if settings.delivery.guarantee == "exactly_once":
        try_transactions(config, trial_transactional_id(settings.namespace), _TRIAL)
    return limits


def watch_topics(settings: Settings, limits: TopicLimits, follower: Follower) -> TopicWatch:
    """Watch the topics of a real Kafka."""
    return TopicWatch(settings, limits, TopicAdmin(client_config(settings.kafka, "mix-bridge")), follower)


def watch_nothing(_settings: Settings, _limits: TopicLimits, _follower: Follower) -> NoTopicWatch:
    """Watch nothing: an embedded Kafka has no topic settings that could change."""
    return NoTopicWatch()
