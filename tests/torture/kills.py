"""kill -9 of the bridge: at any moment, and at the named points of its way."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from tests.support.scene import status
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until
from tests.torture.run import FULL, Figures, Load, Place, Run

CHECKPOINT_INTERVAL = 0.2
SLACK = 3.0
"""Seconds of events beyond one checkpoint interval that a crash may repeat: the timer's own delay, and what piled up
while the bridge was away (a start takes two seconds here). It reads that at full speed, so a kill in this moment
repeats it."""

IN_THE_FLOW = (
    "after_read",
    "after_produce",
    "after_acknowledgement",
    "checkpoint_sent",
    "checkpoint_on_its_way",
    "checkpoint_acknowledged",
    "during_restore",
)
"""Points at which every number keeps its meaning: no consumer that follows the rule has anything twice."""
IN_A_NEW_EPOCH = ("epoch_sent", "epoch_on_its_way", "epoch_acknowledged")
"""A new epoch may repeat events, and never hides one."""
_ON_ITS_WAY = {"checkpoint_on_its_way": "checkpoint_sent", "epoch_on_its_way": "epoch_sent"}
"""The same points, and the signal some milliseconds later: the client sends after 5."""


def killed_at_random(place: Place, kills: int, *, load: Load = FULL) -> Figures:
    """In the start, in the attach, in the flow and as soon as a checkpoint was written, in turn."""
    more = {"delivery.checkpoint_interval": CHECKPOINT_INTERVAL}
    with Run(place, load, more) as run:
        moments = (_in_the_attach, _in_the_flow, _after_checkpoints, _at_any_time)
        for number in range(kills):
            moments[number % len(moments)](run)
            assert run.bridge.running, run.bridge.log_text()[-2000:]
            run.bridge.kill()
        run.bridge.start().wait_ready()
        run.wait_flow()
        run.finish()
        figures = run.prove("`kill -9` at random moments", kills)
    explained = kills * load.sessions * load.rate * (CHECKPOINT_INTERVAL + SLACK)
    print(f"{figures.repeats} repeats, at most {explained:.0f} explained", file=sys.stderr)
    assert figures.repeats <= explained
    assert figures.dead_letters == 0
    return figures


def _in_the_attach(run: Run) -> None:
    run.bridge.start()
    wait_until(lambda: "new session" in run.bridge.log_text() or "connected" in run.bridge.log_text(), 30, "an attach")
    run.pause(0, 0.05)


def _in_the_flow(run: Run) -> None:
    run.bridge.start().wait_ready()
    run.pause(0.2, 1.0)


def _after_checkpoints(run: Run) -> None:
    topic = f"{run.place.namespace}.checkpoints"
    run.bridge.start().wait_ready()
    before = sum(end_offsets(run.place.kafka, topic).values())
    wait_until(
        lambda: sum(end_offsets(run.place.kafka, topic).values()) > before + run.load.sessions, 30, "checkpoints"
    )


def _at_any_time(run: Run) -> None:
    run.bridge.start(wait=False)
    run.pause(0.1, 2.5)


def killed_at_points(place: Place, points: Sequence[str], passages: int, done: str, *, load: Load = FULL) -> Figures:
    """So many kills at each point, in turn, while the server goes on talking."""
    with _run(place, load) as run:
        _leave_checkpoints(run)  # something to be read by the first restore
        for number in range(passages * len(points)):
            _die_at(run, points[number % len(points)])
        return _proof(run, done, passages * len(points))


def killed_in_new_epochs(
    place: Place, points: Sequence[str], passages: int, done: str, *, load: Load = FULL
) -> Figures:
    """The same at the points of a new epoch: each life changes what is numbered, and begins one for every session.

    A second life then finishes what the killed one left half done, when some sessions are in the new epoch and some
    are not, and is killed in the flow.
    """
    with _run(place, load) as run:
        _leave_checkpoints(run)
        for number in range(passages * len(points)):
            other = numbering((number + 1) % 2)
            _die_at(run, points[number % len(points)], other)
            run.bridge_with(other).start().wait_ready()
            wait_all_flow(run)
            run.bridge.kill()
        return _proof(run, done, passages * len(points), new_epochs=True)


def _run(place: Place, load: Load) -> Run:
    more = {"delivery.checkpoint_interval": CHECKPOINT_INTERVAL, **numbering(0)}
    return Run(place, load, more)


def numbering(which: int) -> dict[str, object]:
    """Settings that decide what is numbered: a change of them begins a new epoch, and changes no event here."""
    return {"events.max_bytes": f"{800 + 50 * which}KiB"}


def _leave_checkpoints(run: Run) -> None:
    run.bridge.start().wait_ready()
    wait_all_flow(run)
    run.bridge.kill()


def wait_all_flow(run: Run) -> None:
    """Return once every session is in its epoch: records with its numbers are in Kafka."""

    def all_flow() -> bool:
        sessions = status(run.bridge)["sessions"]
        return len([one for one in sessions if one["acknowledged_sequence"]]) == run.load.sessions

    wait_until(all_flow, 30, f"records of each session, see {run.bridge.log}", 0.05)


def _die_at(run: Run, point: str, more: dict[str, object] | None = None) -> None:
    """One life, which ends at the point: each time at another passage, in the middle of a round over the sessions."""
    delay = run.chance.uniform(0.002, 0.02) if point in _ON_ITS_WAY else 0.0
    passage = run.chance.randint(1, run.load.sessions // 2)
    options = ("--point", _ON_ITS_WAY.get(point, point), "--passage", passage, "--delay", delay)
    bridge = run.dying(*options, more=more).start(wait=False)
    assert bridge.wait(60) == -signal.SIGKILL, f"{point}, passage {passage}: {bridge.log_text()[-2000:]}"


def _proof(run: Run, done: str, times: int, *, new_epochs: bool = False) -> Figures:
    run.bridge_with().start().wait_ready()
    run.wait_flow()
    run.finish()
    return run.prove(done, times, new_epochs=new_epochs)
