"""Where each session of the owned shards resumes. Sessions of the past cost little memory, and no time."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from structlog.stdlib import get_logger

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.stream.overlap import OverlapWindow
from bridge.settings import ServerSettings

log = get_logger("bridge.supervisor")


class EndedSession(NamedTuple):
    """What decides whether an ended session is forgotten."""

    shard: int
    key: SessionKey
    epoch: int
    updated_ms: int


class RestoredCheckpoints:
    """Where each session of the owned shards resumes.

    Checkpoints of ended sessions are packed: they are needed only when the session returns, or is forgotten. Thread
    rule: one thread.
    """

    def __init__(self, servers: Mapping[str, ServerSettings]) -> None:
        self._servers = servers
        self._active: dict[int, dict[SessionKey, Restored]] = {}
        self._ended: dict[int, dict[bytes, bytes]] = {}
        """By shard and record key."""
        self._packing = _Packing()
        self._unfinished: dict[str, list[str]] = {}
        """The results of ``unfinished`` until something changes."""
        self.version = 0
        self._reported: set[str] = set()

    def add_shard(self, shard: int, restored: Mapping[SessionKey, Restored]) -> None:
        """Add the checkpoints of a shard; logs each server once whose sessions are ignored."""
        self._changed()
        self._active[shard] = {key: each for key, each in restored.items() if each.checkpoint.state == "active"}
        self._ended[shard] = {
            key.record_key: self._packing.pack(each)
            for key, each in restored.items()
            if each.checkpoint.state == "ended"
        }
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
        self._changed()
        self._active.pop(shard, None)
        self._ended.pop(shard, None)

    def put(self, shard: int, key: SessionKey, restored: Restored | None) -> None:
        """Replace the checkpoint of one session; None removes it."""
        self._changed()
        self._active.setdefault(shard, {}).pop(key, None)
        ended = self._ended.setdefault(shard, {})
        ended.pop(key.record_key, None)
        if restored is not None and restored.checkpoint.state == "active":
            self._active[shard][key] = restored
        elif restored is not None:
            ended[key.record_key] = self._packing.pack(restored)

    def get(self, key: SessionKey) -> Restored | None:
        for active in self._active.values():
            if (restored := active.get(key)) is not None:
                return restored
        packed = self._packed(key)
        return None if packed is None else self._packing.unpack(key, packed)

    def __contains__(self, key: SessionKey) -> bool:
        return any(key in active for active in self._active.values()) or self._packed(key) is not None

    def unfinished(self, server: str) -> list[str]:
        """The ids of the sessions of a server whose checkpoint says that they have not ended."""
        found = self._unfinished.get(server)
        if found is None:
            keys = (key for active in self._active.values() for key in active)
            found = self._unfinished[server] = [key.session_id for key in keys if key.server == server]
        return found

    def ended(self) -> Iterator[EndedSession]:
        for shard in list(self._ended):
            for record_key in list(self._ended.get(shard, ())):
                packed = self._ended.get(shard, {}).get(record_key)
                if packed is not None:
                    yield self._packing.summary(shard, record_key, packed)

    def _packed(self, key: SessionKey) -> bytes | None:
        record_key = key.record_key
        return next((each[record_key] for each in self._ended.values() if record_key in each), None)

    def _changed(self) -> None:
        self._unfinished.clear()
        self.version += 1


class _Packing:
    """Packs a checkpoint of an ended session into about 200 bytes; the objects need 1,100 (measured)."""

    def __init__(self) -> None:
        self._fingerprints: list[str] = []  # all sessions of a server have the same one

    def pack(self, restored: Restored) -> bytes:
        one = restored.checkpoint
        if one.fingerprint not in self._fingerprints:
            self._fingerprints.append(one.fingerprint)
        index = self._fingerprints.index(one.fingerprint)
        rest = (*one.position, *one.overlap_window, index, one.fencing_token, restored.is_stale)
        return marshal.dumps((one.updated_ms, *rest))

    def unpack(self, key: SessionKey, packed: bytes) -> Restored:
        updated_ms, epoch, sequence, last_event_id, *window, index, token, is_stale = marshal.loads(packed)  # noqa: S302 - packed here
        checkpoint = Checkpoint(
            key, Position(epoch, sequence, last_event_id), "ended", updated_ms, self._fingerprints[index],
            OverlapWindow(*window), token,
        )  # fmt: skip
        return Restored(checkpoint, is_stale)

    @staticmethod
    def summary(shard: int, record_key: bytes, packed: bytes) -> EndedSession:
        updated_ms, epoch, *_ = marshal.loads(packed)  # noqa: S302 - packed here
        server, _, session_id = record_key.decode().partition("/")
        return EndedSession(shard, SessionKey(server, session_id), epoch, updated_ms)
