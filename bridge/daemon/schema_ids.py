"""Looks up the ids of the schemas in a registry when the daemon starts, without making the start wait for it."""

from __future__ import annotations

import threading

from structlog.stdlib import get_logger

from bridge.errors import BridgeError
from bridge.kafka.schema_registry import RegistryRefusal, SchemaRegistry
from bridge.mix.events import event_schemas, schema_text
from bridge.settings import Settings

log = get_logger("bridge.schemas")

_INTERVAL = 60.0
"""Seconds between two attempts while the registry is away."""
_START = 3.0
"""Seconds for which a start waits: records that are written before carry no id."""


class SchemaIds:
    """The header's values by event name, empty until the registry has answered.

    Thread rule: its own thread fills ``found``; any thread reads it.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises ``SettingsError`` if the packages of the extra are not installed."""
        self.found: dict[str, bytes] = {}
        url = settings.schemas.registry_url
        self._prefix = settings.events.type_prefix
        self._registry = None if url is None else SchemaRegistry(url)
        self._stopping = threading.Event()
        self._first = threading.Event()
        if url is not None and settings.events.format == "structured":
            log.warning("records carry no schema id: a structured value is an envelope", setting="events.format")
            self._registry = None

    def start(self) -> None:
        if self._registry is not None:
            threading.Thread(target=self._run, args=(self._registry,), name="schema-ids", daemon=True).start()
            self._first.wait(_START)

    def stop(self) -> None:
        self._stopping.set()

    def _run(self, registry: SchemaRegistry) -> None:
        while not self._stopping.is_set():
            try:
                self._look_up(registry)
            except (BridgeError, RegistryRefusal) as error:
                log.warning("no schema ids: records are written without them", error=str(error), retry_in=_INTERVAL)
            else:
                self._first.set()
                return
            self._first.set()
            self._stopping.wait(_INTERVAL)

    def _look_up(self, registry: SchemaRegistry) -> None:
        missing = []
        for name, schema in event_schemas().items():
            header = registry.header(f"{self._prefix}{name}", schema_text(schema))
            if header is None:
                missing.append(name)
            else:
                self.found[name] = header
        if missing:
            log.warning("schemas are not registered: run `mix-bridge schemas register`", events=missing)
        else:
            log.info("schema ids", count=len(self.found))
