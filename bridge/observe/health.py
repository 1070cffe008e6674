"""Is the daemon alive, is it ready: decided from a snapshot, without asking anybody.

Alive is about this process alone: a restart helps. Ready is about what it needs: a person helps, a restart does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from bridge import clock
from bridge.core.snapshot import BridgeSnapshot

# A loop beats at least once a second, so five missed beats are no hiccup of a busy machine; and whoever asks every few
# seconds still learns of a stuck loop within 10 s, sooner than a Kubernetes probe of usual settings gives up.
LOOP_LIMIT = 5.0

# The daemon asks Kafka something when it has heard nothing for a few seconds, so a live Kafka answers well within this.
KAFKA_LIMIT = 10.0

# One server of several, or some sessions of one, in trouble is their own affair and visible in the status; when most
# cannot connect, the bridge does not do its work. Exactly half is still ready: one broken session of two is no outage.
UNCONNECTED_SHARE_LIMIT = 0.5

# A session in one of these states cannot connect when it also has an error. ``connecting`` is among them because a
# server that does not answer at all keeps its sessions there for a whole connect timeout, again and again.
STREAMING_STATE = "streaming"
UNCONNECTED_STATES = frozenset({"connecting", "waiting"})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what to do about it when it is not well."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: well when every check is."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check is well."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """The body of ``/livez`` and ``/readyz``."""
        checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in self.checks]
        return {"ok": self.ok, "checks": checks}


class Heartbeats:
    """When each of the daemon's own loops last moved.

    Thread rule: every method from any thread. A loop that beats here must never wait for Kafka or a server between two
    beats for longer than a second; one that dies without ``forget`` is noticed, which is the purpose.
    """

    def __init__(self, now: Callable[[], float] = clock.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def beat(self, name: str) -> None:
        """The loop of this name moves; the first beat makes it known."""
        with self._lock:
            self._last[name] = self._now()

    def forget(self, name: str) -> None:
        """The loop of this name ended as it should; a name that is not known is no error."""
        with self._lock:
            self._last.pop(name, None)

    def ages(self) -> dict[str, float]:
        """Seconds since the last beat of each loop."""
        with self._lock:
            now = self._now()
            return {name: now - last for name, last in self._last.items()}


def liveness(snapshot: BridgeSnapshot) -> Verdict:
    """Whether all loops of the daemon move; never depends on Kafka or a server."""
    return Verdict(tuple(_loop(name, age) for name, age in sorted(snapshot.loops.items())))


def readiness(snapshot: BridgeSnapshot, unconnected_states: Collection[str] = UNCONNECTED_STATES) -> Verdict:
    """Whether the checkpoints are restored, Kafka and a server answer, and enough sessions can connect."""
    sessions = _sessions(snapshot, unconnected_states)
    shards = (_restore(snapshot), *_shards(snapshot))
    kafka = (*shards, _kafka(snapshot), *_topics(snapshot), _delivery(snapshot))
    return Verdict((*kafka, _servers(snapshot), sessions))


def _loop(name: str, age: float) -> Check:
    if age < LOOP_LIMIT:
        return Check(f"loop:{name}", ok=True, detail=f"moved {age:.1f} s ago")
    advice = f"has not moved for {age:.1f} s (limit {LOOP_LIMIT:g} s): restart the bridge, nothing is lost by it"
    return Check(f"loop:{name}", ok=False, detail=advice)


def _restore(snapshot: BridgeSnapshot) -> Check:
    if snapshot.restored:
        return Check("restore", ok=True, detail="all checkpoints are read")
    advice = "checkpoints are still being read: wait; if it lasts, look at Kafka and at the log"
    return Check("restore", ok=False, detail=advice)


def _shards(snapshot: BridgeSnapshot) -> tuple[Check, ...]:
    """What the process has of the work; nothing before it knows how much there is."""
    replica = snapshot.replica
    if not replica.shard_count:
        return ()
    if not replica.has_joined:
        advice = "the group has not yet said which shards are this process's: wait; if it lasts, look at the log"
        return (Check("shards", ok=False, detail=advice),)
    blocked = [f"shard {each.number}: {each.trouble}" for each in replica.shards if each.trouble is not None]
    owned = sum(each.stage == "owned" for each in replica.shards)
    told = f"owns {owned} of {replica.shard_count}"
    checks = [Check("shards", ok=not blocked, detail="; ".join([told, *blocked]))]
    if replica.with_other_servers:
        names = ", ".join(replica.with_other_servers)
        detail = f"other servers in the settings of {names}: sessions of a server are bridged only where all name it"
        checks.append(Check("replicas", ok=False, detail=detail))
    return tuple(checks)


def _kafka(snapshot: BridgeSnapshot) -> Check:
    age = snapshot.kafka_last_answer_age
    if age is not None and age < KAFKA_LIMIT:
        return Check("kafka", ok=True, detail=f"answered {age:.1f} s ago")
    silent = "has not answered yet" if age is None else f"last answered {age:.1f} s ago (limit {KAFKA_LIMIT:g} s)"
    advice = "see that the brokers of kafka.bootstrap_servers run and can be reached; the bridge goes on by itself"
    return Check("kafka", ok=False, detail=f"{silent}: {advice}")


def _topics(snapshot: BridgeSnapshot) -> tuple[Check, ...]:
    """None where nobody looks at topics: the embedded Kafka of the demo has no settings of topics."""
    if not snapshot.topics:
        return ()
    troubles = [each.trouble for each in snapshot.topics if each.trouble is not None]
    well = f"{len(snapshot.topics)} topics are as they should be"
    return (Check("topics", ok=not troubles, detail="; ".join(troubles) or well),)


def _delivery(snapshot: BridgeSnapshot) -> Check:
    if snapshot.delivers:
        return Check("delivery", ok=True, detail="no bug has ended it")
    return Check("delivery", ok=False, detail="a bug has ended it: the process ends with exit code 70; see the log")


def _servers(snapshot: BridgeSnapshot) -> Check:
    """Without sessions nothing else tells that the bridge is cut off from all of them."""
    servers = snapshot.servers
    streaming = {each.server for each in snapshot.sessions if each.state == STREAMING_STATE}
    # One refused connection of many is no outage of a server whose other streams go on.
    answering = [name for name, each in servers.items() if each.reachable or name in streaming]
    told = f"{len(answering)} of {len(servers)} servers answer"
    if not snapshot.sessions and not any(each.discovers for each in servers.values()):
        return Check("servers", ok=True, detail="no session is here, and no server is asked for any")
    if servers and not answering:
        advice = "see that a server runs and can be reached (servers.<name>.url); the bridge goes on by itself"
        return Check("servers", ok=False, detail=f"{told}: {advice}")
    asked = [each for each in servers.values() if each.discovers]
    in_trouble = all(each.last_error is not None for each in snapshot.sessions)
    if asked and all(each.discovery_fails for each in asked) and in_trouble and not streaming:
        advice = "see the log for the reason (servers.<name>.url, token); the bridge goes on by itself"
        return Check(
            "servers", ok=False, detail=f"{told}, but none lists its sessions and no session streams: {advice}"
        )
    return Check("servers", ok=True, detail=told)


def _sessions(snapshot: BridgeSnapshot, unconnected_states: Collection[str]) -> Check:
    failing = [each for each in snapshot.sessions if each.state in unconnected_states and each.last_error is not None]
    told = f"{len(failing)} of {len(snapshot.sessions)} sessions cannot connect"
    if len(failing) <= UNCONNECTED_SHARE_LIMIT * len(snapshot.sessions):
        return Check("sessions", ok=True, detail=told)
    # Names of servers only: this answer needs no token, and an error text may quote a server.
    servers = ", ".join(sorted({each.server for each in failing}))
    advice = f"see that these servers run and can be reached: {servers}; /api/status has the error of each session"
    return Check("sessions", ok=False, detail=f"{told}: {advice}")
