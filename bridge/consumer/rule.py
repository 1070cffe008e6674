"""The rule for consumers: keep the highest sequence per key and topic-partition, drop what is not above it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from bridge.consumer.event import Event


class Comparable(Protocol):
    """A sequence: text ``<epoch>:<number>``, or a pair of both numbers."""

    def __le__(self, other: Any, /) -> bool:  # noqa: ANN401 - of its own type
        """Whether it is not above the other one."""


P = TypeVar("P", bound=Hashable)
S = TypeVar("S", bound=Comparable)


class HighestSequences(Generic[P, S]):
    """The highest sequence of each place. Thread rule: one thread."""

    __slots__ = ("by_place",)

    def __init__(self) -> None:
        self.by_place: dict[P, S] = {}

    def raise_to(self, place: P, sequence: S) -> bool:
        """Keep the sequence if it is above the highest of its place; False means: drop the record, it is a repeat."""
        highest = self.by_place.get(place)
        if highest is not None and sequence <= highest:
            return False
        self.by_place[place] = sequence
        return True


class Place(NamedTuple):
    """What the rule compares within: the records of one session in one topic-partition."""

    topic: str
    partition: int
    key: str
    replayed: str = ""
    """The id of a replayed or lifecycle record: such records have old numbers and differ by their ids."""

    @property
    def is_lifecycle(self) -> bool:
        """Whether it is that of a lifecycle record, whose id continues behind the sequence."""
        return self.replayed.count(":") > 1


def place_of(event: Event) -> Place:
    """Return the place of an event."""
    is_apart = event.replayed or event.is_lifecycle
    return Place(event.topic, event.partition, event.key, event.id if is_apart else "")


_LIFECYCLE_IDS = 32
"""Lifecycle records of a session whose repeats are recognised: the bridge repeats only those that were in flight.
Without a limit, a program that follows the topic for months would keep the id of every record."""


class Rule(HighestSequences[Place, str]):
    """The rule for events of all topics. Thread rule: one thread."""

    __slots__ = ("_lifecycle",)

    def __init__(self) -> None:
        super().__init__()
        self._lifecycle: dict[tuple[str, int, str], deque[Place]] = {}

    def accepts(self, event: Event) -> bool:
        """Whether the event is new. Each partition's events come in the order of their offsets."""
        return self.raise_to(place_of(event), event.sequence)

    def raise_to(self, place: Place, sequence: str) -> bool:
        """As above, but only the last ids of a session's lifecycle records are kept."""
        is_new = super().raise_to(place, sequence)
        if is_new and place.is_lifecycle:
            self._keep_last(place)
        return is_new

    def _keep_last(self, place: Place) -> None:
        last = self._lifecycle.setdefault(place[:3], deque())
        last.append(place)
        if len(last) > _LIFECYCLE_IDS:
            self.by_place.pop(last.popleft(), None)

    def forget(self, topic: str, partition: int) -> None:
        """Drop what is known of a partition."""
        for known in [each for each in self._lifecycle if each[:2] == (topic, partition)]:
            del self._lifecycle[known]
        for place in [each for each in self.by_place if (each.topic, each.partition) == (topic, partition)]:
            del self.by_place[place]
