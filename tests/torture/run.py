"""One run: a simulated server under load, a bridge, a Kafka, and the comparison at the end."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Self

from bridge.simulator.server.journal import JournalEntry
from bridge.simulator.server.load_session import LOAD_EVENT, LoadScript
from tests.support.effort import new_seed
from tests.support.mix import MixServer, prove
from tests.support.network_proxy import Proxy
from tests.support.process import MIX_BRIDGE, Bridge, command
from tests.support.scene import settings, status
from tests.support.topics import end_offsets
from tests.support.waiting import TIMEOUT, let_pass, wait_until

SELF_KILLING = (MIX_BRIDGE[0], "-m", "tests.support.dying_bridge")


@dataclass(frozen=True, slots=True)
class Load:
    """The load: 2,000 events a second in all, which two cores shared with Kafka carry easily."""

    sessions: int = 20
    rate: float = 100.0
    """Events per second of each session; 0: as fast as they are read (with ``--load``)."""
    replay: int = 20_000
    """Events in the server's replay buffer of each session: more than it publishes while the bridge is down."""
    more: tuple[object, ...] = ()

    @property
    def of_a_second(self) -> int:
        """Events of all sessions in a second."""
        return int(self.sessions * self.rate)

    def options(self, seed: int) -> tuple[object, ...]:
        """Return the options of the simulated server."""
        rate = ("--rate", self.rate) if self.rate else ()
        return ("--sessions", self.sessions, *rate, "--replay", self.replay, "--seed", seed, *self.more)


FULL = Load()
LIGHT = Load(rate=20.0)
"""The same sessions with a fifth of the events."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of a run, as in docs/reliability.md.

    There is no figure for lost or altered events: for these the comparison with the journal raises AssertionError.
    """

    done: str
    times: int
    events: int
    """Events in the server's journal; the consumer got each one, byte for byte."""
    sessions: int
    twice: int
    """Events that a consumer which follows the rule got more than once."""
    repeats: int
    """Records that the consumer dropped because of their number."""
    dead_letters: int
    remark: str = ""
    verified: bool = False
    """Whether ``mix-bridge verify`` found the same topics complete."""

    def row(self) -> str:
        """Return the row of the table."""
        events = f"{self.events:,} of {self.sessions} sessions"
        cells = (self.done, self.times, events, 0, 0, self.twice, f"{self.repeats:,}", self.remark)
        return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "| fault | times | events | lost | altered | repeats for the consumer | repeats in the topic | remarks |\n"
    "|---|---|---|---|---|---|---|---|"
)


class Place(NamedTuple):
    """The folder, Kafka and namespace of a run."""

    folder: Path
    kafka: str
    namespace: str


@dataclass
class Run:
    """A server under load and settings of a bridge for it. Used by one thread."""

    place: Place
    load: Load = FULL
    more: Mapping[str, object] = field(default_factory=dict)
    through: Proxy | None = None
    """A proxy between the bridge and the server."""
    seed: int = field(default_factory=new_seed)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.mix = MixServer(self.place.folder / "mix", *self.load.options(self.seed))
        self.bridge = Bridge(self.place.folder / "bridge", {})
        self.url = ""

    def __enter__(self) -> Self:
        self.mix.__enter__()
        self.url = self.mix.url
        if self.through is not None:
            self.through.upstream = int(self.mix.url.rpartition(":")[2])
            self.url = f"http://{self.through.address}"
        self.bridge = self.bridge_with()
        return self

    def __exit__(self, *_: object) -> None:
        self.bridge.kill()
        self.mix.kill()

    def bridge_with(self, more: Mapping[str, object] | None = None, program: Sequence[str] = MIX_BRIDGE) -> Bridge:
        """Create a bridge without starting it; ``bridge`` is the one of the last call."""
        chosen = settings(self.place.kafka, self.place.namespace, self.url, {**self.more, **(more or {})})
        self.bridge = Bridge(self.place.folder / "bridge", chosen, program)
        return self.bridge

    def dying(self, *options: object, more: Mapping[str, object] | None = None) -> Bridge:
        """Create a bridge that sends itself a signal, with options of ``tests.support.dying_bridge``."""
        return self.bridge_with(more, (*SELF_KILLING, *map(str, options), "--"))

    def pause(self, least: float, most: float | None = None) -> None:
        """Let the load run for a random time, so that the next step comes at a random moment."""
        let_pass(self.chance.uniform(least, least if most is None else most))

    def published(self) -> dict[str, int]:
        """Return the number of published events of each session."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.mix.url}/control/sessions", timeout=TIMEOUT) as answer:
            return {one["id"]: one["published"] for one in json.load(answer)}

    def acknowledged(self) -> int:
        """Return the number of acknowledged records in the present epochs, from the bridge's status."""
        return sum(one["acknowledged_sequence"] for one in status(self.bridge)["sessions"])

    def wait_flow(self, records: int = 200, deadline: float = 60.0) -> None:
        """Return once this number of further records is acknowledged."""
        before = self.acknowledged()
        wait_until(lambda: self.acknowledged() >= before + records, deadline, f"a flow, see {self.bridge.log}", 0.05)

    def settle(self, deadline: float = 120.0) -> None:
        """Pause the server; return once the bridge has delivered all its events."""
        self.mix.post("/control/pause")
        wait_until(self._has_everything, deadline, f"the rest, see {self.bridge.log}", 0.1)

    def _has_everything(self) -> bool:
        with suppress(TimeoutError):  # the bridge may answer too late
            sessions = status(self.bridge)["sessions"]
            done = {one["session"]: one["last_event_id"] for one in sessions if not one["in_flight"]}
            return done == {session: str(count) for session, count in self.published().items()}
        return False

    def finish(self, deadline: float = 120.0) -> None:
        """Settle, and shut down the bridge."""
        self.settle(deadline)
        assert self.bridge.terminate() == 0, self.bridge.log_text()[-2000:]

    def prove(
        self, done: str, times: int, *, new_epochs: bool = False, remark: str = "", script: LoadScript | None = None
    ) -> Figures:
        """Compare Kafka with the journal; AssertionError names lost, altered and additional events.

        ``script`` has the events of a load test, which has no journal.
        """
        journal = self.mix.journal() if script is None else self._scripted(script)
        assert {session: len(entries) for session, entries in journal.items()} == self.published()
        topics = [f"{self.place.namespace}.events", f"{self.place.namespace}.dead-letters"]
        proof = prove(self.place.kafka, topics, journal, new_epochs=new_epochs)
        dead = sum(end_offsets(self.place.kafka, topics[1]).values())
        twice = len(proof.follower.accepted) - proof.events
        figures = Figures(done, times, proof.events, len(journal), twice, proof.repeats, dead, remark)
        print(figures.row(), flush=True)
        return replace(figures, verified=self._verified())

    def _scripted(self, script: LoadScript) -> dict[str, list[JournalEntry]]:
        data = [script.data(number) for number in range(1, script.events + 1)]
        return {
            session: [JournalEntry(session, at, str(at), LOAD_EVENT, each) for at, each in enumerate(data, 1)]
            for session in self.published()
        }

    def _verified(self) -> bool:
        answer = command(["verify", "--json"], self.bridge.settings, 120)
        assert answer.returncode == 0, f"verify: {answer.returncode}\n{answer.stdout[-2000:]}{answer.stderr[-2000:]}"
        return True
