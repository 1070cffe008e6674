"""Several replicas of the bridge on one namespace: start, stop, kill, pause and resume them; see their streams."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from bridge.clock import monotonic
from tests.support.process import MIX_BRIDGE, Bridge
from tests.support.scene import settings, status
from tests.support.waiting import TIMEOUT, wait_until
from tests.torture.run import SELF_KILLING, Run
from tests.torture.streams import OWNER, Span, Stream, open_at, stream_of

WAKE_UP_GRACE = 3.0
"""Seconds after SIGCONT in which a paused process must notice that it lost its sessions."""


@dataclass
class Replica:
    """One named replica and its present process. Used by one thread."""

    name: str
    bridge: Bridge
    is_named: bool
    """Whether ``instance`` is set: a static member of the group."""
    start_count: int = 0
    paused_at: float | None = None

    @property
    def owner(self) -> str:
        """The name of the present process in its requests to the server."""
        return f"{self.name}.{self.start_count}"

    @property
    def is_live(self) -> bool:
        """Whether it runs and is not paused."""
        return self.bridge.running and self.paused_at is None

    def start(self, *, wait: bool = True) -> None:
        """Start another process."""
        self.start_count += 1
        self.bridge.settings[f"servers.local.headers.{OWNER}"] = self.owner
        self.bridge.start(wait=wait)


@dataclass
class Fleet:
    """All replicas of a run. Used by one thread."""

    run: Run
    replicas: dict[str, Replica] = field(default_factory=dict)
    pauses: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    """Per owner: the time of each pause, with the grace period after it."""
    _noted: dict[int, Stream] = field(default_factory=dict)

    # Changes

    def add(  # noqa: PLR0913 - the settings of a replica, as keywords
        self,
        name: str,
        more: Mapping[str, object] | None = None,
        *,
        named: bool = False,
        end: Sequence[str] = (),
        armed: bool = False,
        wait: bool = True,
    ) -> Replica:
        """Add a replica, ``named`` with ``instance``; with ``wait``, return once it listens.

        ``end``: options of ``tests.support.dying_bridge`` for its kill point, which counts from ``arm`` on, or, with
        ``armed``, from the start.
        """
        program = (*SELF_KILLING, *end, "--when", str(self._arm_file(name)), "--") if end else MIX_BRIDGE
        self._arm_file(name).unlink(missing_ok=True)
        if armed:
            self.arm(name)
        chosen = settings(self.run.place.kafka, self.run.place.namespace, self.run.url, self.run.more)
        chosen.pop("instance", None)  # settings() sets it for tests with one process
        own: dict[str, object] = {"instance": name} if named else {}
        bridge = Bridge(self.run.place.folder / name, {**chosen, **own, **(more or {})}, program)
        known = self.replicas.get(name)
        replica = self.replicas[name] = Replica(name, bridge, named, known.start_count if known else 0)
        replica.start(wait=wait)
        return replica

    def leave(self, replica: Replica) -> None:
        """SIGTERM; return once it has shut down gracefully."""
        code = replica.bridge.terminate(TIMEOUT)
        assert code == 0, f"{replica.owner} ended with {code}: {replica.bridge.log_text()[-3000:]}"

    def pause(self, replica: Replica) -> None:
        """SIGSTOP."""
        replica.paused_at = monotonic()
        replica.bridge.send(signal.SIGSTOP)

    def _arm_file(self, name: str) -> Path:
        return self.run.place.folder / f"{name}.now"

    def arm(self, name: str) -> None:
        """Let its kill point count from now on."""
        self._arm_file(name).touch()

    def wait_end(self, replica: Replica, deadline: float = 30.0) -> None:
        """Arm its kill point; return once it has stopped or killed itself there."""
        self.arm(replica.name)
        wait_until(
            lambda: _state(replica.bridge.pid) in "TZ",
            deadline,
            f"the end of {replica.owner}, see {replica.bridge.log}",
        )
        self._arm_file(replica.name).unlink(missing_ok=True)
        if _state(replica.bridge.pid) == "T":
            replica.paused_at = monotonic()
        else:
            replica.bridge.wait(TIMEOUT)  # the process ends with its last thread

    def wake(self, replica: Replica) -> None:
        """SIGCONT."""
        assert replica.paused_at is not None
        replica.bridge.send(signal.SIGCONT)
        self.pauses[replica.owner].append((replica.paused_at, monotonic() + WAKE_UP_GRACE))
        replica.paused_at = None

    def end(self) -> None:
        """Kill all that are left."""
        for replica in self.replicas.values():
            replica.bridge.kill()

    # State

    @property
    def live(self) -> list[Replica]:
        """The replicas that run and are not paused."""
        return [each for each in self.replicas.values() if each.is_live]

    def streams(self) -> list[Stream]:
        """Return all streams so far, from the server's list."""
        open_ones = [number for number, each in self._noted.items() if each.closed == inf]
        after = min(open_ones, default=len(self._noted) + 1) - 1
        self._noted |= {each["number"]: stream_of(each) for each in self.run.mix.streams(after)}
        return list(self._noted.values())

    def readers(self) -> dict[str, set[str]]:
        """Return, per session, the live owners that have its stream open now."""
        live = {each.owner for each in self.live}
        found = open_at(self.streams(), monotonic())
        return {session: owners & live for session, owners in found.items()}

    def wait_read(self, deadline: float = 60.0) -> None:
        """Return once each session has one live reader and each live replica reads at least one."""

        def shared() -> bool:
            self.must_live()
            readers = self.readers()
            sole = {next(iter(owners)) for owners in readers.values() if len(owners) == 1}
            each_one = [session for session, owners in readers.items() if len(owners) == 1]
            return len(each_one) == self.run.load.sessions and sole == {each.owner for each in self.live}

        wait_until(shared, deadline, "each session read by one replica, and each replica reading some", 0.05)

    def must_live(self) -> None:
        """AssertionError when a replica has failed.

        Exit code 0 and SIGKILL are expected, and 75 after SIGTERM from a replica that lost its shards in a pause.
        """
        for each in self.replicas.values():
            ended, was_paused = each.bridge.returncode, bool(self.pauses.get(each.owner))
            lost_shards = ended == os.EX_TEMPFAIL and was_paused and "stop requested" in each.bridge.log_text()
            is_expected = lost_shards or ended in {None, 0, -signal.SIGKILL}
            assert is_expected, f"{each.owner} ended with {ended}: {each.bridge.log}"

    def share_of(self, replica: Replica) -> set[str]:
        """Return the sessions that it reads now."""
        return {session for session, owners in self.readers().items() if replica.owner in owners}

    def sessions(self) -> list[dict[str, Any]]:
        """Return the sessions in the status of all live replicas."""
        return [session for each in self.live for session in status(each.bridge)["sessions"]]

    # The end

    def finish(self, deadline: float = 120.0) -> None:
        """Pause the server, wait until everything is delivered, and shut down all replicas."""
        self.run.mix.post("/control/pause")
        wait_until(self._has_everything, deadline, "the rest of all sessions", 0.1)
        for replica in self.live:
            self.leave(replica)
        self.run.bridge_with()  # not started: run.prove() uses its settings

    def _has_everything(self) -> bool:
        self.must_live()
        with suppress(OSError):  # a replica may answer too late
            shown = [(one["session"], one["last_event_id"]) for one in self.sessions() if not one["in_flight"]]
            return sorted(shown) == sorted((name, str(count)) for name, count in self.run.published().items())
        return False


def _state(pid: int) -> str:
    """Return the state of a process: ``T`` stopped, ``Z`` ended but not yet waited for."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
