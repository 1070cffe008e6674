"""Servers that interrupt streams in many ways, through the whole bridge: the lifecycle records, and no event missing.

One session of one bridge for each behaviour: they must not touch one another. At the end each is compared with the
server's journal by a consumer that follows the rule; what the server itself took away from everybody is left out.
What needs one interruption only is in test_interruptions.py.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support.lifecycle import LifecycleRecord, lifecycle
from tests.support.mix import MixServer, prove
from tests.support.process import Bridge, command
from tests.support.rule import Followed, follow
from tests.support.scene import bridged, session, settings, wait_logged
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

SILENT = ("--sessions", 0, "--heartbeat", 0, "--retry", 20)


@dataclass(frozen=True)
class Stage:
    """A silent server, a bridge, and what is in Kafka."""

    kafka: str
    namespace: str
    mix: MixServer
    bridge: Bridge

    def say(self, name: str, count: int) -> None:
        """So many events more, all of them on their way to a reader."""
        self.mix.burst(name, count)

    def caught_up(self, name: str) -> None:
        """Return once the newest event of the journal is in Kafka, and nothing of the session is under way."""
        newest = self.mix.journal()[name][-1].data

        def is_there() -> bool:
            shown = session(self.bridge, name)
            if shown.get("in_flight") != 0 or shown.get("state") != "streaming":
                return False
            got = follow(read_topic(self.kafka, f"{self.namespace}.events")).by_key().get(f"local/{name}", [])
            return any(one.data == newest for one in got[-200:])

        wait_until(is_there, what=f"the newest event of {name}, see {self.bridge.log}", interval=0.1)

    def records(self, name: str) -> list[LifecycleRecord]:
        """Its lifecycle."""
        return lifecycle(self.kafka, self.namespace, name)

    def wait_recorded(self, name: str, *kinds: str) -> list[LifecycleRecord]:
        """Its lifecycle, once it has come to these."""
        wait_until(
            lambda: [one.kind for one in self.records(name)][-len(kinds) :] == [*kinds],
            what=f"{kinds} of {name}",
            interval=0.1,
        )
        return self.records(name)

    def cut(self, name: str) -> None:
        """End its stream, and return once there is another."""
        before = self.connections(name)
        self.mix.fault("disconnect", session=name)
        wait_until(lambda: self.connections(name) > before, what=f"another connection of {name}", interval=0.02)

    def connections(self, name: str) -> int:
        """Requests of its stream so far."""
        return len(self.mix.requests(path="/stream", session=name))


Act = Callable[[Stage, str], None]


def fresh_ids(stage: Stage, name: str) -> None:
    """Restarted: all its history under ids from 1 again."""
    stage.mix.fault("restart", ids="fresh", history="keep", session=name)
    stage.say(name, 5)
    stage.caught_up(name)
    assert "reset" in [one.kind for one in stage.records(name)] or stage.records(name)[-1].kind == "resumed"


def left_out(stage: Stage, name: str) -> None:
    """A slow reader's fate: three events are left out on the stream, and a reconnect brings them."""
    stage.mix.fault("skip", events=3, session=name, times=1)
    stage.say(name, 3)
    stage.say(name, 2)
    stage.caught_up(name)
    assert [one.kind for one in stage.records(name)] == ["attached", "resumed"]


def lost_for_all(stage: Stage, name: str) -> None:
    """Events that nobody can have: asked for once more, then told; a second time within ten minutes told at once."""
    connections = stage.connections(name)
    stage.mix.fault("drop", session=name, times=4)
    stage.say(name, 6)
    gap = stage.wait_recorded(name, "attached", "resumed", "gap")[-1]
    assert (gap.reason, gap.data["missing"]) == ("ids_jumped", 4)
    stage.say(name, 20)  # ids that jumped must prove themselves again
    stage.caught_up(name)
    stage.mix.fault("drop", session=name, times=2)
    stage.say(name, 3)
    gap = stage.wait_recorded(name, "gap", "gap")[-1]
    assert gap.data["missing"] == 2
    assert stage.connections(name) == connections + 1


def shared_ids(stage: Stage, name: str, size: int = 3) -> None:
    """One id on several events: a cut between them loses none of them."""
    stage.mix.fault("ids", scheme="group", size=size, session=name)
    for count in (4, 1, 1, 5):
        stage.say(name, count)
        stage.caught_up(name)
        stage.cut(name)
    stage.say(name, 1)
    stage.caught_up(name)
    assert {one.kind for one in stage.records(name)[1:]} == {"resumed"}


def some_ids(stage: Stage, name: str) -> None:
    """Events without an id between others: a replay may leave them out, which is announced once."""
    fault = stage.mix.fault("ids", scheme="some", size=3, session=name)
    stage.say(name, 7)
    stage.caught_up(name)
    stage.mix.clear(fault)
    stage.say(name, 2)
    stage.caught_up(name)
    stage.cut(name)
    stage.say(name, 2)
    stage.caught_up(name)
    gap = stage.records(name)[-1]
    assert (gap.kind, gap.reason) == ("gap", "events_without_ids")
    assert "new_epoch" not in gap.data


ACTS: tuple[Act, ...] = (fresh_ids, left_out, lost_for_all, shared_ids, some_ids)
UNTOUCHED = {"left_out", "shared_ids"}
"""These sessions keep their first epoch."""


def test_each_behaviour_of_a_server_is_announced_and_nothing_is_missed(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Then the bridge is stopped, killed and started again, and each session continues."""
    names = [act.__name__ for act in ACTS]
    with MixServer(tmp_path / "mix", *SILENT) as mix:
        for name in names:
            mix.post("/control/sessions", {"id": name, "rate": 0})
        with bridged(tmp_path, settings(kafka, namespace, mix.url, {"servers.local.gone_after": 0})) as bridge:
            stage = Stage(kafka, namespace, mix, bridge)
            for name in names:
                stage.say(name, 10)
            for name in names:
                stage.caught_up(name)
            for act in ACTS:
                act(stage, act.__name__)
            for end in (bridge.terminate, bridge.kill):
                _restarted(stage, names, end)
        lost = {name: mix.lost(name) for name in names}
        proof = prove(kafka, [f"{namespace}.events"], mix.journal(), new_epochs=True, lost=lost)
        _judge(stage, names, proof.follower.by_key())
    verified = command(["verify", "--json"], settings(kafka, namespace, "http://unknown.invalid"))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _restarted(stage: Stage, names: list[str], end: Callable[[], object]) -> None:
    for name in names:
        stage.say(name, 1)
    end()
    for name in names:
        stage.say(name, 3)
    stage.bridge.start()
    for name in names:
        stage.caught_up(name)


def _judge(stage: Stage, names: list[str], accepted: Mapping[str, list[Followed]]) -> None:
    for name in names:
        epochs = {one.epoch for one in accepted[f"local/{name}"]}
        assert name not in UNTOUCHED or len(epochs) == 1, (name, epochs)
        records = stage.records(name)
        assert records[0].kind == "attached", name
        for one in records:
            got = [each for each in accepted[f"local/{name}"] if each.epoch == one.epoch]
            assert len(got) >= one.sequence, (name, one)
        announced = {int(one.data["new_epoch"]) for one in records if "new_epoch" in one.data}
        assert epochs <= announced | {records[0].epoch}, f"{name}: an epoch without a lifecycle record"


def test_each_reconnect_to_a_server_without_ids_is_unresumable(kafka: str, namespace: str, tmp_path: Path) -> None:
    """``accept``: a new epoch and ``unresumable`` each time; what was sent meanwhile is lost, all else is there."""
    more = {"servers.local.without_ids": "accept"}
    with MixServer(tmp_path / "mix", *SILENT) as mix:
        mix.post("/control/sessions", {"id": "bare", "rate": 0})
        mix.fault("ids", scheme="none", session="bare")
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            stage = Stage(kafka, namespace, mix, bridge)
            for _ in range(3):
                wait_until(lambda: session(bridge, "bare").get("state") == "streaming", what="a stream", interval=0.02)
                stage.say("bare", 3)
                stage.caught_up("bare")
                stage.cut("bare")
            records = stage.wait_recorded("bare", "attached", *["unresumable"] * 3)
        assert {one.reason for one in records[1:]} == {"no_ids"}
        prove(kafka, [f"{namespace}.events"], mix.journal(), new_epochs=True, lost={"bare": mix.lost("bare")})


def test_many_events_under_one_id_survive_a_kill(kafka: str, namespace: str, tmp_path: Path) -> None:
    """More than are remembered: those beyond come again, in a new epoch, and none is missed."""
    with MixServer(tmp_path / "mix", *SILENT) as mix:
        for name, size in (("few", 3), ("many", 300)):
            mix.post("/control/sessions", {"id": name, "rate": 0})
            mix.fault("ids", scheme="group", size=size, session=name)
        with bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            stage = Stage(kafka, namespace, mix, bridge)
            for count in (290, 20, 7):
                for name in ("few", "many"):
                    stage.say(name, count)
                    stage.caught_up(name)
                bridge.kill()
                bridge.start()
                for name in ("few", "many"):
                    stage.caught_up(name)
        proof = prove(kafka, [f"{namespace}.events"], mix.journal(), new_epochs=True)
        assert len({one.epoch for one in proof.follower.by_key()["local/few"]}) == 1


def test_a_bridge_that_stood_still_asks_again(kafka: str, namespace: str, tmp_path: Path) -> None:
    """SIGSTOP for six seconds while events are left out on the stream: the replay brings them, none of them twice."""
    with MixServer(tmp_path / "mix", *SILENT) as mix:
        mix.post("/control/sessions", {"id": "a", "rate": 0})
        with bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            stage = Stage(kafka, namespace, mix, bridge)
            stage.say("a", 5)
            stage.caught_up("a")
            before = stage.connections("a")
            bridge.send(signal.SIGSTOP)
            asked = partial(bridge.send, signal.SIGCONT)
            wait_until(_after(6.0), 10, "six seconds", 0.1)
            stage.say("a", 5)
            asked()
            stage.caught_up("a")
            assert stage.connections("a") == before + 1
            wait_logged(bridge, "the reader stalled")
        proof = prove(kafka, [f"{namespace}.events"], mix.journal())
    assert proof.repeats == 0


def _after(seconds: float) -> Callable[[], bool]:
    from bridge.clock import monotonic  # noqa: PLC0415

    end = monotonic() + seconds
    return lambda: monotonic() >= end
