"""Several replicas of the bridge on one namespace: started, stopped, killed, paused and woken; who reads what."""

from __future__ import annotations

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
from tests.support.waiting import wait_until
from tests.torture.run import DYING, Run
from tests.torture.streams import OWNER, Span, Stream, open_at, stream_of

ZOMBIES_GRACE = 3.0
"""Seconds that a process which was paused may take, once woken, to notice that its sessions are another's."""


@dataclass
class Replica:
    """One place in the fleet, and the process that is in it now. Used by one thread."""

    name: str
    bridge: Bridge
    is_named: bool
    """Has ``instance`` set: it comes back as the one it was."""
    life: int = 0
    paused_at: float | None = None

    @property
    def owner(self) -> str:
        """What this life calls itself to the server."""
        return f"{self.name}.{self.life}"

    @property
    def is_live(self) -> bool:
        """Runs, and is not paused."""
        return self.bridge.running and self.paused_at is None

    def start(self, *, wait: bool = True) -> None:
        """Another life."""
        self.life += 1
        self.bridge.settings[f"servers.local.headers.{OWNER}"] = self.owner
        self.bridge.start(wait=wait)


@dataclass
class Fleet:
    """All replicas of a run; a context within that of the run. Used by one thread."""

    run: Run
    replicas: dict[str, Replica] = field(default_factory=dict)
    stood_still: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    """Per owner, from each pause to the end of the grace after it."""
    _noted: dict[int, Stream] = field(default_factory=dict)

    # Changes

    def add(  # noqa: PLR0913 - what a replica is made of, each named
        self,
        name: str,
        more: Mapping[str, object] | None = None,
        *,
        named: bool = False,
        end: Sequence[str] = (),
        doomed: bool = False,
        wait: bool = True,
    ) -> Replica:
        """One more replica, ``named`` with ``instance``; with ``wait``, return once it listens.

        ``end``: options of ``tests.support.dying_bridge`` for what it does to itself on ``meet_end``, or, ``doomed``,
        as soon as it comes to it.
        """
        program = (*DYING, *end, "--when", str(self._word(name)), "--") if end else MIX_BRIDGE
        self._word(name).unlink(missing_ok=True)
        if doomed:
            self.doom(name)
        chosen = settings(self.run.place.kafka, self.run.place.namespace, self.run.url, self.run.more)
        chosen.pop("instance", None)  # a process alone has one, so that it need not wait for its former self
        own: dict[str, object] = {"instance": name} if named else {}
        bridge = Bridge(self.run.place.folder / name, {**chosen, **own, **(more or {})}, program)
        known = self.replicas.get(name)
        replica = self.replicas[name] = Replica(name, bridge, named, known.life if known else 0)
        replica.start(wait=wait)
        return replica

    def leave(self, replica: Replica) -> None:
        """SIGTERM; return once it has ended in order."""
        code = replica.bridge.terminate(60)
        assert code == 0, f"{replica.owner} ended with {code}: {replica.bridge.log_text()[-3000:]}"

    def pause(self, replica: Replica) -> None:
        """SIGSTOP."""
        replica.paused_at = monotonic()
        replica.bridge.send(signal.SIGSTOP)

    def _word(self, name: str) -> Path:
        return self.run.place.folder / f"{name}.now"

    def doom(self, name: str) -> None:
        """From now on it meets its end when it comes to its point."""
        self._word(name).touch()

    def meet_end(self, replica: Replica, deadline: float = 30.0) -> None:
        """Let it come to its point; return once it has stopped or killed itself there."""
        self.doom(replica.name)
        wait_until(
            lambda: _state(replica.bridge.pid) in "TZ",
            deadline,
            f"the end of {replica.owner}, see {replica.bridge.log}",
        )
        self._word(replica.name).unlink(missing_ok=True)
        if _state(replica.bridge.pid) == "T":
            replica.paused_at = monotonic()
        else:
            replica.bridge.wait(10)  # dead is the process with the last of its threads

    def wake(self, replica: Replica) -> None:
        """SIGCONT."""
        assert replica.paused_at is not None
        replica.bridge.send(signal.SIGCONT)
        self.stood_still[replica.owner].append((replica.paused_at, monotonic() + ZOMBIES_GRACE))
        replica.paused_at = None

    def end(self) -> None:
        """Kill all that are left."""
        for replica in self.replicas.values():
            replica.bridge.kill()

    # Looks

    @property
    def live(self) -> list[Replica]:
        """Those that run and are not paused."""
        return [each for each in self.replicas.values() if each.is_live]

    def streams(self) -> list[Stream]:
        """All there were, by the server's list."""
        open_ones = [number for number, each in self._noted.items() if each.closed == inf]
        after = min(open_ones, default=len(self._noted) + 1) - 1
        self._noted |= {each["number"]: stream_of(each) for each in self.run.mix.streams(after)}
        return list(self._noted.values())

    def readers(self) -> dict[str, set[str]]:
        """Per session which live owners have its stream open now."""
        live = {each.owner for each in self.live}
        found = open_at(self.streams(), monotonic())
        return {session: owners & live for session, owners in found.items()}

    def wait_read(self, deadline: float = 60.0) -> None:
        """Return once each session is read by one live replica, and each of these reads some."""

        def shared() -> bool:
            self.must_live()
            readers = self.readers()
            sole = {next(iter(owners)) for owners in readers.values() if len(owners) == 1}
            each_one = [session for session, owners in readers.items() if len(owners) == 1]
            return len(each_one) == self.run.load.sessions and sole == {each.owner for each in self.live}

        wait_until(shared, deadline, "each session read by one replica, and each replica reading some", 0.05)

    def must_live(self) -> None:
        """AssertionError when one that is in the fleet has ended by itself: those that left are not ``expected``."""
        for each in self.replicas.values():
            ended = each.bridge.returncode
            assert ended in {None, 0, -signal.SIGKILL}, f"{each.owner} ended with {ended}: {each.bridge.log}"

    def share_of(self, replica: Replica) -> set[str]:
        """The sessions that it reads now."""
        return {session for session, owners in self.readers().items() if replica.owner in owners}

    def sessions(self) -> list[dict[str, Any]]:
        """What the live ones tell of their sessions."""
        return [session for each in self.live for session in status(each.bridge)["sessions"]]

    # The end

    def finish(self, deadline: float = 120.0) -> None:
        """The server falls silent, all it said is handed over, all replicas stop in order."""
        self.run.mix.post("/control/pause")
        wait_until(self._has_everything, deadline, "the rest of all sessions", 0.1)
        for replica in self.live:
            self.leave(replica)
        self.run.bridge_with()  # not to be started: its settings are those of the commands

    def _has_everything(self) -> bool:
        self.must_live()
        with suppress(OSError):  # a replica in trouble may be late with its answer
            told = [(one["session"], one["last_event_id"]) for one in self.sessions() if not one["in_flight"]]
            return sorted(told) == sorted((name, str(count)) for name, count in self.run.published().items())
        return False


def _state(pid: int) -> str:
    """``T``: stopped; ``Z``: ended, and not yet waited for."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
