"""The identity of this replica, as it appears in claims, in the group and in ``/api/status``."""

from __future__ import annotations

import os
import secrets
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bridge import __version__
from bridge.clock import unix_ms
from bridge.core.records.claim import Claim
from bridge.core.records.member_metadata import MemberMetadata
from bridge.core.snapshot import Replica, ShardSnapshot
from bridge.settings import Settings
from bridge.settings.naming import servers_fingerprint
from bridge.sharding.process_identity import this_process


@dataclass(frozen=True, slots=True)
class ReplicaIdentity:
    """The identity of this process."""

    instance: str | None
    host: str
    owner: str
    """For people: ``<instance or host>:<process id>``."""
    run: str
    """The process identity."""
    servers: str
    """Fingerprint of the servers' names and URLs."""
    shard_count: int

    @classmethod
    def of(cls, settings: Settings, shard_count: int) -> ReplicaIdentity:
        """Return the identity of this process with these settings."""
        host = socket.gethostname()
        owner = f"{settings.instance or host}:{os.getpid()}"
        return cls(settings.instance, host, owner, this_process(), servers_fingerprint(settings), shard_count)

    def new_claim(self) -> Claim:
        """A claim with its own nonce."""
        return Claim(self.owner, secrets.token_hex(8), self.shard_count, self.servers, unix_ms())

    def metadata(self) -> MemberMetadata:
        """What this process commits in the group."""
        return MemberMetadata(self.owner, self.instance, self.run, self.servers, __version__)

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
        )
