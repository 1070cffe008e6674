"""The identity of this replica, as it appears in claims, in the group and in ``/api/status``, and the live others."""

from __future__ import annotations

import os
import secrets
import socket
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bridge import __version__
from bridge.clock import unix_ms
from bridge.core.records.claim import Claim
from bridge.core.records.member_metadata import MemberMetadata
from bridge.core.snapshot import Replica, ShardSnapshot
from bridge.errors import BridgeError
from bridge.settings import Settings
from bridge.settings.naming import servers_fingerprint

_PROC = Path("/proc")
_INTERVAL = 5.0
"""Seconds between two readings of the committed metadata."""
_FIRST = 1.5
"""Seconds until the second reading: a single one does not show who is alive."""
_TIMEOUT = 11.0
"""Seconds: a process with the same heartbeat in three readings is dead."""


def this_process() -> str:
    """``<boot id>/<PID namespace>/<process id>/<start time>``: unique for ever, on all machines."""
    here, start = _here(), _start_of(os.getpid())
    if here is None or start is None:
        return uuid.uuid4().hex
    return f"{here}/{os.getpid()}/{start}"


def is_dead(run: str) -> bool:
    """Whether that process is known to be dead; False when nothing is known."""
    parts = run.rsplit("/", 2)
    if len(parts) != 3 or parts[0] != _here() or not parts[1].isdecimal():  # noqa: PLR2004 - as written above
        return False
    return _start_of(int(parts[1])) != parts[2]


def _here() -> str | None:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return None
    return f"{boot}/{namespace}"


def _start_of(process: int) -> str | None:
    """The start time in ticks since the boot; None for no process, or a dead one that was not reaped yet."""
    try:
        # The second field is the name: in brackets, with any characters.
        fields = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True, slots=True)
class ReplicaIdentity:
    """The identity of this process."""

    instance: str | None
    host: str
    owner: str
    """For people: ``<instance or host>:<process id>``."""
    run: str
    servers: str
    """Fingerprint of the servers' names and URLs."""
    shard_count: int
    guarantee: str = "at_least_once"

    @classmethod
    def of(cls, settings: Settings, shard_count: int) -> ReplicaIdentity:
        host = socket.gethostname()
        owner = f"{settings.instance or host}:{os.getpid()}"
        servers, guarantee = servers_fingerprint(settings), settings.delivery.guarantee
        return cls(settings.instance, host, owner, this_process(), servers, shard_count, guarantee)

    def new_claim(self) -> Claim:
        return Claim(self.owner, secrets.token_hex(8), self.shard_count, self.servers, unix_ms(), self.guarantee)

    def metadata(self) -> MemberMetadata:
        return MemberMetadata(self.owner, self.instance, self.run, self.servers, __version__, guarantee=self.guarantee)

    def snapshot(
        self, shards: tuple[ShardSnapshot, ...], registry: Mapping[int, MemberMetadata], *, has_joined: bool
    ) -> Replica:
        """Describe this replica and the others; ``registry``: the live owner of each shard."""
        others = [member for member in registry.values() if member.run != self.run]
        return Replica(
            owner=self.owner,
            instance=self.instance,
            host=self.host,
            pid=os.getpid(),
            shard_count=self.shard_count,
            has_joined=has_joined,
            shards=shards,
            others=Counter(member.owner for member in others),
            with_other_servers=tuple(sorted({each.owner for each in others if each.servers != self.servers})),
            with_other_guarantee=tuple(
                sorted({each.owner for each in others if each.guarantee not in {"", self.guarantee}})
            ),
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    member: MemberMetadata
    changed_at: float | None
    """When it was first read with this heartbeat; None before the first change."""


class ReplicaRegistry:
    """The owners of all shards: a live one changes its committed metadata.

    Thread rule: one thread calls ``turn``; ``live`` is for any thread.
    """

    def __init__(self) -> None:
        self.live: Mapping[int, MemberMetadata] = {}
        """The metadata of the live owner of each shard, as of a few seconds ago."""
        self._seen: dict[int, _Seen] = {}
        self._next_at = 0.0

    def turn(self, now: float, read: Callable[[], Mapping[int, MemberMetadata]]) -> None:
        """Read when it is time. If ``read`` raises ``BridgeError``, the next turn tries again after the interval."""
        if now < self._next_at:
            return
        self._next_at = now + (_INTERVAL if self.live else _FIRST)
        with suppress(BridgeError):  # errors that matter come from the commits
            self._seen = {shard: self._compared(shard, member, now) for shard, member in read().items()}
        self.live = {shard: seen.member for shard, seen in self._seen.items() if _is_live(seen, now)}

    def _compared(self, shard: int, member: MemberMetadata, now: float) -> _Seen:
        before = self._seen.get(shard)
        if before is None:  # nobody knows how old it is
            return _Seen(member, None)
        return before if before.member == member else _Seen(member, now)


def _is_live(seen: _Seen, now: float) -> bool:
    return seen.changed_at is not None and now - seen.changed_at <= _TIMEOUT and not seen.member.has_left
