"""Selects the records that ``mix-bridge tail`` prints. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.admin.text import matches
from bridge.consumer import Event
from bridge.consumer.record import LIFECYCLE
from bridge.settings import Settings


def topics_of(settings: Settings, role: str) -> tuple[str, ...]:
    """Return the topics of a role, without doubles; those of the routes belong to the events."""
    topics = settings.topics
    by_role: Mapping[str, tuple[str, ...]] = {
        "events": (topics.events, *(route.topic for route in topics.routes)),
        "dead-letters": (topics.dead_letters,),
        "lifecycle": (topics.lifecycle,),
    }
    chosen = by_role.values() if role == "all" else [by_role[role]]
    return tuple(dict.fromkeys(topic for group in chosen for topic in group))


@dataclass(frozen=True, slots=True)
class TailFilter:
    """The records that meet all of these conditions."""

    sessions: tuple[str, ...] = ()
    """``server/id`` or patterns of it: one of them matches. A pattern without a slash is about the id only."""
    type: str | None = None
    """An event type or a pattern; of lifecycle records the last part of the type counts too."""
    text: str | None = None
    """A text in the data, or in the reason or error of a dead letter."""

    @property
    def is_empty(self) -> bool:
        """Whether every record meets them."""
        return not self.sessions and self.type is None and self.text is None

    def matches(self, event: Event) -> bool:
        """Return whether the event meets all conditions."""
        return (
            (not self.sessions or any(_matches_session(event, each) for each in self.sessions))
            and (matches(event.type, self.type) or matches(event.type.removeprefix(LIFECYCLE), self.type))
            and (self.text is None or self.text in _searchable(event))
        )


def _matches_session(event: Event, pattern: str) -> bool:
    return matches(event.key if "/" in pattern else event.session, pattern)


def _searchable(event: Event) -> str:
    """The reason, the error, and the data: as it is, and with the characters that its JSON escapes stand for."""
    text = f"{event.dead_letter or ''} {event.error or ''} {event.data.decode('utf-8', 'replace')}"
    if "\\" not in text:
        return text
    try:
        return f"{text}\n{json.dumps(event.json(), ensure_ascii=False)}"
    except (ValueError, RecursionError):
        return text
