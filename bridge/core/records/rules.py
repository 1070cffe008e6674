"""The settings that decide which record an event becomes. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from bridge.core.records.record import RECORD_VERSION
from bridge.core.records.topics import SizeLimits

Format = Literal["structured", "binary", "raw"]
Policy = Literal["publish", "dead_letter", "skip"]
CONNECTION_EVENTS = frozenset({"connected", "heartbeat"})
"""Events about the connection, not the session: never numbered, never move the cursor."""


class Validator(Protocol):
    """Validates an event's data: returns None, or one line about the error without any of the data.

    None promises that the text is JSON, apart from ``NaN`` and ``Infinity``. The result for a text that is not JSON is
    not used.
    """

    def __call__(self, data: str, /) -> str | None:
        """Return the error, or None."""


@dataclass(frozen=True, slots=True)
class Route:
    """Events whose SSE name matches the pattern (of `fnmatch.fnmatchcase`) go to the topic; ``server`` narrows it."""

    match: str
    topic: str
    server: str | None = None

    def matches(self, name: str, server: str) -> bool:
        """Whether the route matches this event of this server."""
        return self.server in (None, server) and fnmatchcase(name, self.match)


SchemaIds = Mapping[str, bytes]
"""By event name: the value of the header with the id that a schema registry gave to the schema. It may still be empty
when it is handed over, and be filled later: it is looked at when the first event of a name comes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide which record an event becomes.

    ``schema`` None: nothing is validated and every event type is known.
    """

    format: Format
    type_prefix: str
    skip: frozenset[str]
    unknown: Policy
    invalid: Policy
    max_bytes: int
    events_topic: str
    dead_letters_topic: str
    routes: tuple[Route, ...] = ()
    schema: Mapping[str, Validator] | None = field(default=None, repr=False)
    schema_version: str = ""
    traceparent: bool = False
    dataschema: str = ""
    """URI of an event's schema, with ``{event}`` for its name; empty: records do not carry it."""
    schema_ids: SchemaIds = field(default_factory=dict, repr=False)

    def dataschema_of(self, name: str) -> str:
        """The URI of the schema of this event's data; empty without one."""
        is_known = self.schema is not None and name in self.schema
        return self.dataschema.replace("{event}", name) if is_known else ""

    def fingerprint(self, guarantee: str = "at_least_once", limits: SizeLimits | None = None) -> str:
        """16 hex digits over all that decides what is numbered, how, and where it goes; a change starts a new epoch.

        Topics are included: a crash repeats records under their old numbers, and in another partition newer numbers of
        the same epoch may come first, so consumers would drop the repeat. The size limit is included: it decides
        between an event record and a dead letter. So is the version of the records: all records of an epoch have the
        same form, and consumers compare them as strings. So is the guarantee: a process with the other one may have
        been paused, and its late records must not share an epoch with those that follow. At least once, so are the
        topics' own size limits where they are lower than what the settings allow: a crash may leave an unwritten dead
        letter behind a written record, and with another limit the same number would go to that record's topic.
        """
        decisive = {
            "version": RECORD_VERSION,
            "skip": sorted(self.skip - self.connection_events),
            "unknown": self.unknown,
            "invalid": self.invalid,
            "schema": "none" if self.schema is None else self.schema_version,
            "max_bytes": self.max_bytes,
            "topics": [self.events_topic, self.dead_letters_topic],
            "routes": [[route.match, route.topic, route.server] for route in self.routes],
        }
        if guarantee != "at_least_once":  # earlier versions had no such key, and their sessions continue
            decisive["guarantee"] = guarantee
        elif limits is not None and (binding := self.binding(limits)):
            decisive["limits"] = binding
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def binding(self, limits: SizeLimits) -> dict[str, int]:
        """Those limits of topics of events that may decide between an event record and a dead letter."""
        return limits.binding({self.events_topic, *(route.topic for route in self.routes)}, self.max_bytes)

    @property
    def connection_events(self) -> frozenset[str]:
        """Names of the events about the connection; without a schema, every event belongs to the session."""
        return frozenset() if self.schema is None else CONNECTION_EVENTS

    def topic_of(self, name: str, server: str) -> str:
        """The topic for events of this SSE name: that of the first route that matches, else the events topic."""
        return next((route.topic for route in self.routes if route.matches(name, server)), self.events_topic)
