"""How the daemon prepares and watches its topics: on a real Kafka, or not at all on the demo's embedded one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.snapshot import TopicSnapshot
from bridge.errors import BridgeError, SettingsError, Unreachable
from bridge.kafka.brokers import try_transactions
from bridge.kafka.client_properties import ClientProperties
from bridge.kafka.topic_admin import TopicAdmin, prepare
from bridge.kafka.topic_changes import Change, ChangeKind, changes, has_wrong_shape, problem, warnings, wrong_shape
from bridge.kafka.topics import TopicDescription, TopicLimits, TopicPlan, needed_bytes, plan
from bridge.settings import Settings
from bridge.settings.naming import trial_transactional_id

_TRIAL = 3.0
"""Seconds for Kafka to begin a trial transaction: a signal is noticed only between two attempts."""

log = get_logger("bridge.topics")

_INTERVAL = 3.0
"""Seconds between two descriptions: two small requests."""
_RECHECK = 1.0
"""Seconds until a suspected problem is checked again: a new topic has no leaders for a moment, and an operator who
deletes a topic to create it again needs the time."""
_LEAST = 0.1
"""Seconds between two descriptions at least: refused records may ask for one again and again."""
_REMIND = 600.0
"""Seconds after which a problem that lasts is logged again."""


class Followers(NamedTuple):
    """Act on changes. They are called on the watch's thread and do not wait."""

    topics_changed: Callable[[str], None]
    """Gets what changed: the limits, or the numbers of partitions."""
    checkpoints_recreated: Callable[[int], None]
    """Gets the number of partitions of the new checkpoints topic."""
    cluster_changed: Callable[[str], None]
    """Gets the problem: nothing in memory may be written to the cluster that answers now."""


@dataclass(slots=True)
class _Watched:
    plan: TopicPlan
    last: TopicDescription | None = None
    is_missing: bool = False
    suspected: str | None = None
    """The problem found by the last check: it is reported when the next check finds it too."""
    problem: str | None = None
    logged_at: float = -inf
    warnings: tuple[str, ...] = ()
    changes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(ChangeKind, 0)))
    repair_error: str | None = None


class TopicWatch:
    """Watches all topics of the settings.

    Thread rule: the owner calls ``start`` once; any thread calls ``stop``, ``join`` and ``snapshot``; everything else
    runs on its own thread.
    """

    def __init__(self, settings: Settings, limits: TopicLimits, topics: TopicAdmin, followers: Followers) -> None:
        self._watched = [_Watched(each) for each in plan(settings)]
        self._checkpoints = settings.topics.checkpoints
        self._needed = needed_bytes(settings)
        self._creates = settings.topics.create
        self._sizes, self._counts = limits.sizes, limits.counts
        self._topics = topics
        self._cluster_id: str | None = None
        self._followers = followers
        self._stopped = threading.Event()
        self._is_renewal_wanted = False
        self._thread = threading.Thread(target=self._run, name="topics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def renew_clients(self) -> None:
        """Use a new client, with the certificates as they are now (any thread)."""
        self._is_renewal_wanted = True

    def stop(self) -> None:
        self._stopped.set()
        self._sizes.wanted.set()

    def join(self, deadline: float) -> bool:
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    def snapshot(self) -> tuple[TopicSnapshot, ...]:
        return tuple(_snapshot(each) for each in self._watched)

    def _run(self) -> None:
        while not self._stopped.is_set():
            began, is_away = monotonic(), False
            try:
                if self._is_renewal_wanted:
                    self._is_renewal_wanted = False
                    self._topics.renew()
                self.check()  # immediately: every change since the start is noticed
            except Unreachable as error:
                log.debug("the topics cannot be described", error=str(error))  # others report that Kafka is away
                is_away = monotonic() - began >= _RECHECK
            except Exception:  # a bug must not end the watch
                log.exception("a bug while checking the topics: checking again")
            self._stopped.wait(_LEAST)
            # After an outage another cluster may answer, and producers send: so a request waits for it at any time.
            if not is_away:
                self._sizes.wanted.wait(_RECHECK if any(each.suspected for each in self._watched) else _INTERVAL)

    def check(self) -> None:
        """Describe the topics once, log what is new, and act on it. Raises ``Unreachable``."""
        self._sizes.wanted.clear()
        if self._is_other_cluster():
            return
        found = self._topics.describe([each.plan for each in self._watched])
        for watched in self._watched:
            if watched.plan.name in found:
                self._compare(watched, found[watched.plan.name])
        missing = [each.plan for each in self._watched if each.is_missing and each.problem is not None]
        if missing and self._creates:
            self._create(missing)
        self._follow()

    def _is_other_cluster(self) -> bool:
        """Whether another cluster answers than before: its topics are not ours that were created again."""
        before, now = self._cluster_id, self._topics.cluster_id()
        if before is None or now is None or before == now:
            self._cluster_id = now or before
            return False
        problem = (
            f"another Kafka cluster answers behind kafka.bootstrap_servers: its id is {now}, and was {before}. Nothing"
            " is written to it: the next start continues at the positions that this cluster has"
        )
        log.error("the Kafka cluster was exchanged", problem=problem)
        self._followers.cluster_changed(problem)
        self._stopped.set()
        return True

    def _compare(self, watched: _Watched, topic: TopicDescription | None) -> None:
        before, watched.is_missing = watched.last, topic is None
        if before is not None and topic is not None and has_wrong_shape(watched.plan, before, topic):
            self._repair(watched, before, topic)
            return
        if topic is not None:
            watched.last = topic
            if before is not None:
                for change in changes(watched.plan, before, topic):
                    self._note(watched, change, topic)
        self._judge(watched, problem(watched.plan, topic, self._needed, create=self._creates))
        found = warnings(watched.plan, topic, self._needed)
        for warning in set(found) - set(watched.warnings):
            if before is not None:  # the start has logged the first ones
                log.warning("topic", topic=watched.plan.name, setting=watched.plan.key, warning=warning)
        watched.warnings = found

    def _note(self, watched: _Watched, change: Change, topic: TopicDescription) -> None:
        watched.changes[change.kind] += 1
        log.error("a topic was changed while the bridge runs", topic=watched.plan.name, change=change.message)
        if watched.plan.name == self._checkpoints and change.kind is ChangeKind.RECREATED:
            self._followers.checkpoints_recreated(topic.partitions)

    def _repair(self, watched: _Watched, before: TopicDescription, topic: TopicDescription) -> None:
        """Give a checkpoints topic that another program created again the shape that it had.

        It is followed only afterwards: until then the positions stay in memory, and a restart would be refused.
        """
        name, partitions = watched.plan.name, before.partitions
        if self._creates and topic.partitions <= partitions:
            try:
                self._topics.repair(watched.plan, topic.partitions, partitions)
            except BridgeError as error:
                watched.repair_error = str(error)
            else:
                watched.repair_error = None
                log.warning("the topic has its former partitions and settings again", topic=name, partitions=partitions)
                return  # the next check follows it
        self._judge(watched, wrong_shape(watched.plan, before, topic, watched.repair_error))

    def _judge(self, watched: _Watched, found: str | None) -> None:
        """Report a problem once two checks in a row have found it."""
        name, lasts = watched.plan.name, found is not None and found == watched.suspected
        watched.suspected = found
        if lasts and (watched.problem != found or monotonic() - watched.logged_at > _REMIND):
            watched.problem, watched.logged_at = found, monotonic()
            log.error("a topic has a problem", topic=name, setting=watched.plan.key, problem=found)
        elif found is None and watched.problem is not None:
            watched.problem = None
            log.info("the topic's problem is solved", topic=name)

    def _create(self, missing: Sequence[TopicPlan]) -> None:
        names = ", ".join(each.name for each in missing)
        try:
            self._topics.create(missing)
            log.warning("missing topics are created again", topics=names)
        except SettingsError as error:
            log.error("missing topics cannot be created", topics=names, error=str(error))  # noqa: TRY400 - Kafka's answer says it all
        except BridgeError:
            return  # no answer in time: the next check tries again

    def _follow(self) -> None:
        sizes = self._sizes
        before = sizes.batch_size, sizes.largest
        known = {each.plan.name: each.last for each in self._watched if each.last is not None}
        sizes.update({name: topic.max_message_bytes for name, topic in known.items()})
        if self._counts.update({name: topic.partitions for name, topic in known.items()}):
            # The client looks for new partitions of a known topic every five minutes only.
            self._followers.topics_changed("the topics have other numbers of partitions")
        elif (sizes.batch_size, sizes.largest) != before:
            self._followers.topics_changed(f"the topics accept batches of {sizes.batch_size} bytes now")


def _snapshot(watched: _Watched) -> TopicSnapshot:
    partitions = None if watched.is_missing or watched.last is None else watched.last.partitions
    return TopicSnapshot(watched.plan.name, partitions, watched.problem, watched.warnings, dict(watched.changes))


Prepare = Callable[[Settings, ClientProperties], TopicLimits]
Watch = Callable[[Settings, ClientProperties, TopicLimits, Followers], TopicWatch | None]
"""None: the demo's embedded Kafka has no topic settings that could change."""


def prepare_topics(settings: Settings, clients: ClientProperties) -> TopicLimits:
    """Create or check the topics, and check that Kafka allows the transactions that the settings need."""
    config = clients.of("mix-bridge")
    admin = TopicAdmin(config)
    limits = prepare(settings, admin)
    for detail in admin.unreachable_brokers():
        log.warning("a broker cannot be reached", detail=detail)
    if settings.delivery.guarantee == "exactly_once":
        try_transactions(config, trial_transactional_id(settings.namespace), _TRIAL)
    return replace(limits, brokers=admin.brokers())


def watch_topics(
    settings: Settings, clients: ClientProperties, limits: TopicLimits, followers: Followers
) -> TopicWatch:
    """Watch the topics of a real Kafka."""
    return TopicWatch(settings, limits, TopicAdmin(clients.of("mix-bridge")), followers)
