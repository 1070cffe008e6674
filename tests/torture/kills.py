"""kill -9 of the bridge: at random moments and at kill points."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from tests.support.scene import status
from tests.support.topics import end_offsets
from tests.support.waiting import TIMEOUT, wait_until
from tests.torture.run import FULL, Figures, Load, Place, Run

CHECKPOINT_INTERVAL = 0.2
SLACK = 3.0
"""Seconds of events beyond one checkpoint interval that a crash may repeat: the timer's delay, and the events since
the last kill (a start takes two seconds here). The bridge reads those at full speed, so a kill then repeats them."""

IN_THE_FLOW = (
    "after_read",
    "after_produce",
    "after_acknowledgement",
    "checkpoint_sent",
    "checkpoint_on_its_way",
    "checkpoint_acknowledged",
    "during_restore",
)
"""Points at which the epoch continues: a consumer that follows the rule gets no event twice."""
IN_A_NEW_EPOCH = ("epoch_sent", "epoch_on_its_way", "epoch_acknowledged")
"""Points at which a new epoch begins, which may repeat events but never hides one."""
_ON_ITS_WAY = {"checkpoint_on_its_way": "checkpoint_sent", "epoch_on_its_way": "epoch_sent"}
"""The same points, with the signal some milliseconds later: the client sends after 5 ms."""


def killed_at_random(place: Place, kills: int) -> Figures:
    """Kill while attaching, while streaming, after a checkpoint and at any time after the start, in turn."""
    more = {"delivery.checkpoint_interval": CHECKPOINT_INTERVAL}
    with Run(place, more=more) as run:
        moments = (_in_the_attach, _in_the_flow, _after_checkpoints, _at_any_time)
        for number in range(kills):
            moments[number % len(moments)](run)
            assert run.bridge.running, run.bridge.log_text()[-2000:]
            run.bridge.kill()
        run.bridge.start().wait_ready()
        run.wait_flow()
        run.finish()
        figures = run.prove("`kill -9` at random moments", kills)
    explained = kills * run.load.of_a_second * (CHECKPOINT_INTERVAL + SLACK)
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


def killed_at_points(place: Place, points: Sequence[str], occurrences: int, done: str, *, load: Load = FULL) -> Figures:
    """Kill ``occurrences`` times at each point, in turn, while the server publishes."""
    with _run(place, load) as run:
        _leave_checkpoints(run)  # for the first restore
        for number in range(occurrences * len(points)):
            _die_at(run, points[number % len(points)])
        return _proof(run, done, occurrences * len(points))


def killed_in_new_epochs(
    place: Place, points: Sequence[str], occurrences: int, done: str, *, load: Load = FULL
) -> Figures:
    """Kill at the points of a new epoch: each process changes what is numbered and so begins one for every session.

    A second process then finishes the killed one's work, when some sessions are in the new epoch and some are not; it
    is killed while streaming.
    """
    with _run(place, load) as run:
        _leave_checkpoints(run)
        for number in range(occurrences * len(points)):
            other = numbering((number + 1) % 2)
            _die_at(run, points[number % len(points)], other)
            run.bridge_with(other).start().wait_ready()
            wait_all_flow(run)
            run.bridge.kill()
        return _proof(run, done, occurrences * len(points), new_epochs=True)


def _run(place: Place, load: Load) -> Run:
    more = {"delivery.checkpoint_interval": CHECKPOINT_INTERVAL, **numbering(0)}
    return Run(place, load, more)


def numbering(which: int) -> dict[str, object]:
    """Return settings that are part of the fingerprint: a change begins a new epoch, and changes no event here."""
    return {"events.max_bytes": f"{800 + 50 * which}KiB"}


def _leave_checkpoints(run: Run) -> None:
    run.bridge.start().wait_ready()
    wait_all_flow(run)
    run.bridge.kill()


def wait_all_flow(run: Run) -> None:
    """Return once Kafka has acknowledged records of every session in its present epoch."""

    def all_flow() -> bool:
        sessions = status(run.bridge)["sessions"]
        return len([one for one in sessions if one["acknowledged_sequence"]]) == run.load.sessions

    wait_until(all_flow, 30, f"records of each session, see {run.bridge.log}", 0.05)


def _die_at(run: Run, point: str, more: dict[str, object] | None = None) -> None:
    """Run a process until the point kills it, each time at another occurrence, before all sessions have reached it."""
    delay = run.chance.uniform(0.002, 0.02) if point in _ON_ITS_WAY else 0.0
    occurrence = run.chance.randint(1, run.load.sessions // 2)
    options = ("--point", _ON_ITS_WAY.get(point, point), "--occurrence", occurrence, "--delay", delay)
    bridge = run.dying(*options, more=more).start(wait=False)
    assert bridge.wait(TIMEOUT) == -signal.SIGKILL, f"{point}, occurrence {occurrence}: {bridge.log_text()[-2000:]}"


def _proof(run: Run, done: str, times: int, *, new_epochs: bool = False) -> Figures:
    run.bridge_with().start().wait_ready()
    run.wait_flow()
    run.finish()
    return run.prove(done, times, new_epochs=new_epochs)
