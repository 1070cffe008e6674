"""Reports restored checkpoints whose sessions are not bridged, because the settings do not name them."""

from __future__ import annotations

from collections.abc import Mapping

from structlog.stdlib import get_logger

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey
from bridge.settings import ServerSettings

log = get_logger("bridge.supervisor")


class IgnoredCheckpoints:
    """Logs each server once: further shards bring no news. Thread rule: one thread."""

    def __init__(self, servers: Mapping[str, ServerSettings]) -> None:
        self._servers = servers
        self._reported: set[str] = set()

    def report(self, restored: Mapping[SessionKey, Restored]) -> None:
        """Log what of the checkpoints of one shard is ignored."""
        for name in {key.server for key in restored} - set(self._servers) - self._reported:
            self._reported.add(name)
            log.warning("checkpoints of a server that is not in the settings are left alone", server=name)
        active = [key for key, each in restored.items() if each.checkpoint.state == "active"]
        for name, settings in self._servers.items():
            if settings.discover or name in self._reported:
                continue
            ignored = {key.session_id for key in active if key.server == name} - set(settings.sessions)
            if ignored:
                self._reported.add(name)
                log.warning(
                    "discovery is off: sessions with a checkpoint that are not configured are left alone",
                    server=name, sessions=len(ignored),
                )  # fmt: skip
