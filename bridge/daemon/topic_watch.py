"""Looks again and again whether the topics are still what they were: nobody else would tell.

Kafka's client waits without a word for a topic that is gone, follows one that was created anew as if nothing had
happened, and takes every change of partitions and settings as it comes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.snapshot import TopicSnapshot
from bridge.errors import BridgeError, SettingsError, Unreachable
from bridge.kafka.topic_changes import Change, Kind, changes, trouble, warnings
from bridge.kafka.topic_description import TopicSeen
from bridge.kafka.topics import TopicLimits, TopicPlan, needed_bytes, plan
from bridge.settings import Settings

log = get_logger("bridge.topics")

_EVERY = 3.0
"""Seconds between two looks: two small requests."""
_AGAIN = 1.0
"""Seconds until the second look at what seems wrong: a topic just created has no leaders for a moment, and whoever
deletes one to create it anew must be given the time."""
_REMIND = 600.0
"""Seconds after which trouble that lasts is said again."""


class Look(Protocol):
    """How the topics are asked for; see :class:`bridge.kafka.topic_description.TopicLook`."""

    def __call__(self, planned: Sequence[TopicPlan]) -> Mapping[str, TopicSeen | None]:
        """The topics by name."""
        ...

    def create(self, missing: Sequence[TopicPlan]) -> None:
        """Create topics."""
        ...


class Follower(Protocol):
    """Who acts on changes; called on the watch's thread, and does not wait."""

    def follow_limit(self, max_request_bytes: int) -> None:
        """The smallest ``max.message.bytes`` of all topics is another."""
        ...

    def write_positions_again(self, partitions: int) -> None:
        """The checkpoints topic is a new one, with so many partitions."""
        ...


@dataclass(slots=True)
class _Watched:
    plan: TopicPlan
    seen: TopicSeen | None = None
    """As it was when it last existed."""
    is_gone: bool = False
    suspicion: str | None = None
    """What the last look found wrong: trouble when the next one finds it too."""
    trouble: str | None = None
    said_at: float = -inf
    warnings: tuple[str, ...] = ()
    changes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(Kind, 0)))


class TopicWatch:
    """All topics of the settings.

    Thread rule: ``start`` once, by its owner; ``stop``, ``join`` and ``snapshot`` by any; the rest is its own thread's.
    """

    def __init__(self, settings: Settings, ground: TopicLimits, look: Look, follower: Follower) -> None:
        self._topics = [_Watched(each) for each in plan(settings)]
        self._checkpoints = settings.topics.checkpoints
        self._needed = needed_bytes(settings)
        self._creates = settings.topics.create
        self._limit = ground.max_request_bytes
        self._look = look
        self._follower = follower
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topics", daemon=True)

    @property
    def max_request_bytes(self) -> int:
        """The smallest ``max.message.bytes`` of all topics at the last look (any thread)."""
        return self._limit

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end."""
        self._stopped.set()

    def join(self, deadline: float) -> bool:
        """Wait for the thread until ``deadline``; True when it has ended."""
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    def snapshot(self) -> tuple[TopicSnapshot, ...]:
        """The topics as they were at the last look (any thread)."""
        return tuple(_snapshot(each) for each in self._topics)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.look()  # at once: what is changed from the start on is noticed
            except Unreachable as away:
                log.debug("the topics cannot be looked at", detail=str(away))  # others tell of a Kafka that is away
            except Exception:  # a bug met here must not end the watch
                log.exception("a bug met while looking at the topics: looking again")
            self._stopped.wait(_AGAIN if any(each.suspicion for each in self._topics) else _EVERY)

    def look(self) -> None:
        """Look once, say what is new, and act on it. Raises ``Unreachable``."""
        found = self._look([each.plan for each in self._topics])
        for topic in self._topics:
            if topic.plan.name in found:
                self._compare(topic, found[topic.plan.name])
        missing = [each.plan for each in self._topics if each.is_gone and each.trouble is not None]
        if missing and self._creates:
            self._create(missing)
        self._follow_limit()

    def _compare(self, topic: _Watched, seen: TopicSeen | None) -> None:
        before, topic.is_gone = topic.seen, seen is None
        if seen is not None:
            topic.seen = seen
            if before is not None:
                for change in changes(topic.plan, before, seen):
                    self._note(topic, change, seen)
        self._judge(topic, trouble(topic.plan, seen, self._needed, create=self._creates))
        for warning in set(said := warnings(topic.plan, seen, self._needed)) - set(topic.warnings):
            if before is not None:  # what was so from the start on was said at the start
                log.warning("topic", topic=topic.plan.name, setting=topic.plan.key, warning=warning)
        topic.warnings = said

    def _note(self, topic: _Watched, change: Change, seen: TopicSeen) -> None:
        topic.changes[change.kind] += 1
        log.error("a topic was changed under the running bridge", topic=topic.plan.name, change=change.message)
        if topic.plan.name == self._checkpoints and change.kind is Kind.RECREATED:
            self._follower.write_positions_again(seen.found.partitions)

    def _judge(self, topic: _Watched, wrong: str | None) -> None:
        """Only what two looks in a row have found is trouble."""
        name, lasts = topic.plan.name, wrong is not None and wrong == topic.suspicion
        topic.suspicion = wrong
        if lasts and (topic.trouble != wrong or monotonic() - topic.said_at > _REMIND):
            topic.trouble, topic.said_at = wrong, monotonic()
            log.error("a topic is not as it must be", topic=name, setting=topic.plan.key, trouble=wrong)
        elif wrong is None and topic.trouble is not None:
            topic.trouble = None
            log.info("the topic is as it must be again", topic=name)

    def _create(self, missing: Sequence[TopicPlan]) -> None:
        names = ", ".join(each.name for each in missing)
        try:
            self._look.create(missing)
            log.warning("topics that were gone are created again", topics=names)
        except SettingsError as refused:
            log.error("topics that are gone cannot be created", topics=names, error=str(refused))  # noqa: TRY400 - Kafka's answer says it all
        except BridgeError:
            return  # it answers too late or not at all: the next look tries again

    def _follow_limit(self) -> None:
        limits = [each.seen.found.max_message_bytes for each in self._topics if each.seen is not None]
        if not limits or min(limits) == self._limit:
            return
        self._limit = min(limits)
        self._follower.follow_limit(self._limit)


def _snapshot(topic: _Watched) -> TopicSnapshot:
    partitions = None if topic.is_gone or topic.seen is None else topic.seen.found.partitions
    return TopicSnapshot(topic.plan.name, partitions, topic.trouble, topic.warnings, dict(topic.changes))


class NoTopicWatch:
    """A watch that watches nothing (any thread)."""

    def __init__(self, max_request_bytes: int) -> None:
        self.max_request_bytes = max_request_bytes

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def join(self, deadline: float) -> bool:  # noqa: ARG002 - nothing to wait for
        """Return True."""
        return True

    def snapshot(self) -> tuple[TopicSnapshot, ...]:
        """Return no topics."""
        return ()
