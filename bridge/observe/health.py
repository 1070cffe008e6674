"""Whether the daemon is alive and whether it is ready, decided from a snapshot alone.

Alive is about this process: if it is not, a restart helps. Ready is about what it needs: if it is not, a restart does
not help.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from bridge import clock
from bridge.core.snapshot import BAD_STATES, BridgeSnapshot
from bridge.settings.server import name_the_sessions

LOOP_LIMIT = 5.0
"""Seconds. A loop sends a heartbeat at least once a second, so five missing ones are more than a busy machine; and a
probe every few seconds finds a stuck loop within 10 s, before a Kubernetes probe with usual settings gives up."""
SESSIONS_IN_TIME = 500
"""Sessions above which a loop has more time: with 3,000 busy ones in a fifth of a core, the interpreter's lock comes to
each thread after up to 6 s (measured), which is slow and not stuck."""
LIMITS = {"sessions": 30.0}
"""Seconds for loops that are not one thread. ``sessions`` is the age of the readers: 0 while they move, or wait."""
KAFKA_LIMIT = 10.0
"""Seconds. The daemon probes Kafka after a few seconds without an answer, so a running Kafka answers within this."""
UNCONNECTED_SHARE_LIMIT = 0.5
"""One server of several, or some sessions of one, without a connection are visible in the status; when most sessions
cannot connect, the bridge does not work. Exactly half is still ready: one broken session of two is no outage."""
STREAMING_STATE = "streaming"
UNCONNECTED_STATES = frozenset({"connecting", "waiting"})
"""A session in one of these states cannot connect if it also has an error. ``connecting`` is one of them because a
server that does not answer at all keeps its sessions there for a whole connect timeout, again and again."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, and what to do if it is not ok."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The results of all checks."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """The body of ``/livez`` and ``/readyz``."""
        return {"ok": self.ok, **asdict(self)}


class Heartbeats:
    """When each of the daemon's loops last sent a heartbeat.

    Thread rule: any thread. A loop must not wait for Kafka or a server for longer than a second between two heartbeats.
    A loop that ends without ``forget`` is reported as stuck, which is the purpose.
    """

    def __init__(self, now: Callable[[], float] = clock.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def record(self, name: str) -> None:
        """Record a heartbeat of the loop; the first one registers it."""
        with self._lock:
            self._last[name] = self._now()

    def forget(self, name: str) -> None:
        """Remove a loop that ended as it should; an unknown name is no error."""
        with self._lock:
            self._last.pop(name, None)

    def ages(self) -> dict[str, float]:
        with self._lock:
            now = self._now()
            return {name: now - last for name, last in self._last.items()}


def liveness(snapshot: BridgeSnapshot) -> Verdict:
    """Whether all loops send heartbeats; never depends on Kafka or a server."""
    return moving(snapshot.loops, len(snapshot.sessions))


def moving(loops: Mapping[str, float], sessions: int) -> Verdict:
    """The same by the ages of the heartbeats, and the number of sessions that run."""
    factor = max(1.0, sessions / SESSIONS_IN_TIME)
    limits = {name: LIMITS.get(name, LOOP_LIMIT * factor) for name in loops}
    return Verdict(tuple(_loop(name, age, limits[name]) for name, age in sorted(loops.items())))


def readiness(snapshot: BridgeSnapshot) -> Verdict:
    """Whether checkpoints are restored, Kafka and a server answer, and enough sessions can connect."""
    kafka = (_restore(snapshot), *_shards(snapshot), _kafka(snapshot), *_topics(snapshot), _delivery(snapshot))
    return Verdict((*kafka, _servers(snapshot), _sessions(snapshot), *_limits(snapshot)))


def _loop(name: str, age: float, limit: float) -> Check:
    if age < limit:
        return Check(f"loop:{name}", ok=True, detail=f"moved {age:.1f} s ago")
    advice = f"has not moved for {age:.1f} s (limit {limit:g} s): restart the bridge, no event is lost by that"
    return Check(f"loop:{name}", ok=False, detail=advice)


def _restore(snapshot: BridgeSnapshot) -> Check:
    if snapshot.restored:
        return Check("restore", ok=True, detail="all checkpoints are read")
    advice = "checkpoints are still being read: wait; if it takes long, check Kafka and the log"
    return Check("restore", ok=False, detail=advice)


def _shards(snapshot: BridgeSnapshot) -> tuple[Check, ...]:
    """The shards of this process; no check before their number is known."""
    replica = snapshot.replica
    if not replica.shard_count:
        return ()
    if not replica.has_joined:
        advice = "the group has not assigned shards to this process yet: wait; if it takes long, check the log"
        return (Check("shards", ok=False, detail=advice),)
    blocked = [
        f"shard {each.number}: {each.open_trouble or 'see /api/status'}"  # its trouble may name a session
        for each in replica.shards
        if each.trouble is not None
    ]
    owned = sum(each.stage == "owned" for each in replica.shards)
    summary = f"owns {owned} of {replica.shard_count}"
    checks = [Check("shards", ok=not blocked, detail="; ".join([summary, *blocked]))]
    if replica.with_other_servers:
        names = ", ".join(replica.with_other_servers)
        detail = f"the settings of {names} name other servers: make them the same, or some sessions are not bridged"
        checks.append(Check("replicas", ok=False, detail=detail))
    if replica.with_other_guarantee:
        names = ", ".join(replica.with_other_guarantee)
        detail = (
            f"{names} run in this namespace with another delivery.guarantee: stop all replicas, give all the same, and"
            " start them"
        )
        checks.append(Check("guarantee", ok=False, detail=detail))
    return tuple(checks)


def _kafka(snapshot: BridgeSnapshot) -> Check:
    age = snapshot.kafka_last_answer_age
    if age is not None and age < KAFKA_LIMIT:
        return Check("kafka", ok=True, detail=f"answered {age:.1f} s ago")
    silent = "has not answered yet" if age is None else f"last answered {age:.1f} s ago (limit {KAFKA_LIMIT:g} s)"
    advice = "check that the brokers of kafka.bootstrap_servers run and can be reached"
    return Check("kafka", ok=False, detail=f"{silent}: {snapshot.kafka_failure or advice}; the bridge keeps retrying")


def _topics(snapshot: BridgeSnapshot) -> tuple[Check, ...]:
    """No check if the topics are not watched: the embedded Kafka of the demo has no topic settings."""
    if not snapshot.topics:
        return ()
    troubles = [each.trouble for each in snapshot.topics if each.trouble is not None]
    well = f"{len(snapshot.topics)} topics have no problem"
    return (Check("topics", ok=not troubles, detail="; ".join(troubles) or well),)


def _delivery(snapshot: BridgeSnapshot) -> Check:
    trouble = snapshot.delivery_trouble
    if snapshot.delivers and trouble is not None:
        advice = "see the log, and the client quotas of Kafka (producer_byte_rate, request_percentage)"
        return Check("delivery", ok=not snapshot.is_stuck, detail=f"{trouble}: {advice}")
    if snapshot.delivers:
        return Check("delivery", ok=True, detail="no bug has ended it")
    return Check("delivery", ok=False, detail="a bug has ended it: the process ends with exit code 70; see the log")


def _servers(snapshot: BridgeSnapshot) -> Check:
    """Without sessions no other check shows that the bridge can reach no server."""
    servers = snapshot.servers
    streaming = {each.server for each in snapshot.sessions if each.state == STREAMING_STATE}
    # One refused connection of many is no outage of a server whose other streams continue.
    answering = [name for name, each in servers.items() if each.reachable or name in streaming]
    summary = f"{len(answering)} of {len(servers)} servers answer"
    if not snapshot.sessions and not any(each.discovers for each in servers.values()):
        return Check("servers", ok=True, detail="no session runs here, and no server is polled")
    if servers and not answering:
        advice = "check that a server runs and can be reached (servers.<name>.url); the bridge keeps retrying"
        return Check("servers", ok=False, detail=f"{summary}: {advice}")
    polled = [each for each in servers.values() if each.discovers]
    in_trouble = all(each.last_error is not None for each in snapshot.sessions)
    if polled and all(each.discovery_fails for each in polled) and in_trouble and not streaming:
        without = [name for name, each in servers.items() if each.lists_none]
        advice = "see the log for the reason (servers.<name>.url, token); the bridge keeps retrying"
        advice = "; ".join(f"{name}: {name_the_sessions(name)}" for name in without) or advice
        detail = f"{summary}, but none lists its sessions and no session streams: {advice}"
        return Check("servers", ok=False, detail=detail)
    return Check("servers", ok=True, detail=summary)


def _sessions(snapshot: BridgeSnapshot) -> Check:
    unconnected = [
        each for each in snapshot.sessions if each.state in UNCONNECTED_STATES and each.last_error is not None
    ]
    bad = Counter(each.state for each in snapshot.sessions if each.state in BAD_STATES)
    failing = [*unconnected, *(each for each in snapshot.sessions if each.state in BAD_STATES)]
    summary = f"{len(failing)} of {len(snapshot.sessions)} sessions "
    if bad:
        states = "".join(f", {count} {state}" for state, count in sorted(bad.items()))
        summary += f"are not bridged: {len(unconnected)} cannot connect{states}"
    else:
        summary += "cannot connect"
    if len(failing) <= UNCONNECTED_SHARE_LIMIT * len(snapshot.sessions):
        return Check("sessions", ok=True, detail=summary)
    # Names of servers only: this answer needs no token, and an error text may quote a server's answer.
    servers = ", ".join(sorted({each.server for each in failing}))
    advice = f"check that these servers run and can be reached: {servers}; /api/status has the error of each session"
    return Check("sessions", ok=False, detail=f"{summary}: {advice}")


def _limits(snapshot: BridgeSnapshot) -> tuple[Check, ...]:
    """No check while every session has a thread."""
    count = sum(each.without_thread for each in snapshot.servers.values())
    if not count:
        return ()
    advice = "raise the limit of threads (pids.max, ulimit -u) or of open files; the log names it; or add a replica"
    return (Check("limits", ok=False, detail=f"{count} sessions have no thread and are not bridged: {advice}"),)
