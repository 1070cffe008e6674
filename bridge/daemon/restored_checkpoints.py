"""The checkpoints of the sessions of owned shards, and what of them the settings ignore."""

from __future__ import annotations

from collections.abc import Mapping

from structlog.stdlib import get_logger

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey
from bridge.settings import ServerSettings

log = get_logger("bridge.supervisor")


class RestoredCheckpoints:
    """Where each session of the owned shards resumes. Thread rule: one thread."""

    def __init__(self, servers: Mapping[str, ServerSettings]) -> None:
        self._servers = servers
        self._checkpoints: dict[SessionKey, Restored] = {}
        self._keys: dict[int, set[SessionKey]] = {}
        """The keys of ``_checkpoints`` by shard: hashing all keys would cost too much."""
        self._reported: set[str] = set()

    def add_shard(self, shard: int, restored: Mapping[SessionKey, Restored]) -> None:
        """Add the checkpoints of a shard; logs each server once whose sessions are ignored."""
        self._checkpoints.update(restored)
        self._keys[shard] = set(restored)
        for name in {key.server for key in restored} - set(self._servers) - self._reported:
            self._reported.add(name)
            log.warning("checkpoints of a server that is not in the settings are left alone", server=name)
        for name, settings in self._servers.items():
            if not settings.discover and name not in self._reported:
                self._report_not_configured(name, {*self.unfinished(name)} - {*settings.sessions})

    def _report_not_configured(self, server: str, sessions: set[str]) -> None:
        if sessions:
            self._reported.add(server)
            log.warning(
                "discovery is off: sessions with a checkpoint that are not configured are left alone",
                server=server, sessions=len(sessions),
            )  # fmt: skip

    def remove_shard(self, shard: int) -> None:
        for key in self._keys.pop(shard, ()):
            self._checkpoints.pop(key, None)

    def put(self, shard: int, key: SessionKey, restored: Restored | None) -> None:
        """Replace the checkpoint of one session; None removes it."""
        self._checkpoints.pop(key, None)
        if restored is not None:
            self._checkpoints[key] = restored
            self._keys.setdefault(shard, set()).add(key)

    def get(self, key: SessionKey) -> Restored | None:
        return self._checkpoints.get(key)

    def unfinished(self, server: str) -> list[str]:
        """The ids of the sessions of a server whose checkpoint says that they have not ended."""
        return [
            key.session_id
            for key, each in self._checkpoints.items()
            if key.server == server and each.checkpoint.state == "active"
        ]
