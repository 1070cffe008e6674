"""SIGTERM in each state, SIGSTOP, and a wall clock that jumps back."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from bridge.clock import monotonic
from tests.support.broker import Broker
from tests.support.network_proxy import BLACK_HOLE, CLEAR, REFUSED, NetworkConditions, Proxy
from tests.support.scene import status
from tests.support.topics import read_topic
from tests.support.waiting import TIMEOUT, wait_until
from tests.torture.kills import numbering, wait_all_flow
from tests.torture.run import FULL, Figures, Load, Place, Run

IN_THE_FLOW = ("after_read", "after_acknowledgement", "checkpoint_sent", "during_restore")
IN_A_NEW_EPOCH = ("epoch_sent", "epoch_acknowledged")

_WINDOW = 100
_PROMPT = 5.0
"""Seconds within which a shutdown without a wait must end."""


def stopped_at_points(place: Place, times: int, *, load: Load = FULL) -> Figures:
    """SIGTERM while streaming, restoring, writing a checkpoint, beginning an epoch: each shutdown is graceful."""
    with Run(place, load, numbering(0)) as run:
        run.bridge.start().wait_ready()
        wait_all_flow(run)
        assert run.bridge.terminate() == 0
        for _ in range(times):
            for point in IN_THE_FLOW:
                _stop_at(run, point, numbering(0))
            for point in IN_A_NEW_EPOCH:
                _stop_at(run, point, numbering(1))
                _stream_and_stop(run, numbering(0))  # all sessions return to the first numbering
        run.bridge_with().start().wait_ready()
        run.finish()
        done = "SIGTERM while streaming, in a restore, a checkpoint, a new epoch"
        figures = run.prove(done, times * len((*IN_THE_FLOW, *IN_A_NEW_EPOCH)), new_epochs=True)
        assert (figures.repeats, figures.twice) == (0, 0)
        return figures


def _stop_at(run: Run, point: str, more: dict[str, object]) -> None:
    occurrence = 1 if point == "during_restore" else run.chance.randint(1, 10)
    bridge = run.dying("--point", point, "--occurrence", occurrence, "--signal", "TERM", more=more).start(wait=False)
    assert bridge.wait(TIMEOUT) == 0, f"{point}, occurrence {occurrence}: {bridge.log_text()[-2000:]}"


def _stream_and_stop(run: Run, more: dict[str, object]) -> None:
    run.bridge_with(more).start().wait_ready()
    wait_all_flow(run)
    assert run.bridge.terminate() == 0


def stopped_without_a_server(place: Place, times: int) -> Figures:
    """SIGTERM while connecting to a server that does not answer, and during the back-off."""
    more = {"servers.local.reconnect_min": "30s", "servers.local.reconnect_max": "60s"}
    with Proxy() as proxy, Run(place, more=more, through=proxy) as run:
        run.bridge.start().wait_ready()
        run.wait_flow()
        assert run.bridge.terminate() == 0
        for _ in range(times):
            for conditions, state in ((BLACK_HOLE, "waiting for the response head"), (REFUSED, "waiting")):
                _stop_in_state(run, proxy, conditions, state)
        run.bridge.start().wait_ready()
        run.wait_flow()
        run.finish()
        return run.prove("SIGTERM while connecting, and in the back-off", 2 * times)


def _stop_in_state(run: Run, proxy: Proxy, conditions: NetworkConditions, state: str) -> None:
    proxy.set(conditions)
    run.bridge.start()

    def in_state() -> bool:
        sessions = status(run.bridge)["sessions"]
        return len(sessions) == run.load.sessions and {one["state"] for one in sessions} == {state}

    wait_until(in_state, 30, f"all sessions {state}", 0.05)
    assert _seconds(run.bridge.terminate) < _PROMPT
    assert run.bridge.returncode == 0
    proxy.set(CLEAR)
    proxy.cut()


def stopped_without_kafka(folder: Path, namespace: str, times: int) -> Figures:
    """SIGTERM with a full window and a paused Kafka: exit 75 after ``drain_timeout``; two SIGTERM: immediately."""
    more = {"delivery.max_in_flight": _WINDOW}
    with Broker(folder / "kafka") as broker, Run(Place(folder, broker.bootstrap, namespace), more=more) as run:
        for _ in range(times):
            for drain_timeout, signals in (("1s", 1), ("60s", 2)):
                run.bridge_with({"delivery.drain_timeout": drain_timeout}).start().wait_ready()
                wait_all_flow(run)
                broker.pause()
                wait_until(lambda: _window_is_full(run), 30, f"a full window, see {run.bridge.log}", 0.05)
                assert _seconds(partial(_stop, run, signals)) < _PROMPT
                assert run.bridge.returncode == 75, run.bridge.log_text()[-2000:]
                broker.resume()
        run.bridge_with().start().wait_ready()
        run.wait_flow()
        run.finish()
        return run.prove("SIGTERM, and SIGTERM twice, with a full window and Kafka down: exit 75", 2 * times)


def _window_is_full(run: Run) -> bool:
    """Return whether all windows are more than half full: a waiting reader resumes at half."""
    return all(one["in_flight"] > _WINDOW // 2 for one in status(run.bridge)["sessions"])


def _stop(run: Run, signals: int) -> None:
    run.bridge.send(signal.SIGTERM)
    if signals > 1:
        # Two pending signals of one kind are delivered once, so wait for the first one's effect.
        wait_until(lambda: _stops_reading(run), 5, "the first signal's effect")
        run.bridge.send(signal.SIGTERM)
    run.bridge.wait(TIMEOUT)


def _stops_reading(run: Run) -> bool:
    return {one["state"] for one in status(run.bridge)["sessions"]} == {"stopped"}


def frozen(place: Place, times: int, short: float, long: float) -> Figures:
    """SIGSTOP and SIGCONT: for a moment, and for longer than the limit of a stall."""
    with Run(place) as run:
        run.bridge.start().wait_ready()
        for _ in range(times):
            for seconds in (short, long):
                run.wait_flow()
                run.bridge.send(signal.SIGSTOP)
                run.pause(seconds)
                run.bridge.send(signal.SIGCONT)
        run.wait_flow()
        run.finish()
        return run.prove(f"SIGSTOP for {short:g} s and for {long:g} s, then SIGCONT", 2 * times)


def clock_set_back(place: Place, times: int) -> Figures:
    """Set the wall clock of the running bridge back by an hour and by a year; begin a new epoch in between."""
    clock = place.folder / "clock"
    place.folder.mkdir(parents=True, exist_ok=True)
    _set(clock, 0)
    with Run(place, more=numbering(0)) as run:
        for number in range(times):
            run.dying("--clock", clock, more=numbering(number % 2)).start().wait_ready()
            wait_all_flow(run)
            for hours in (-1, -24 * 365):
                _set(clock, hours * 3600)
                _still_alive(run)
            assert run.bridge.terminate() == 0
        run.dying("--clock", clock, more=numbering(times % 2)).start().wait_ready()
        wait_all_flow(run)
        run.finish()
        figures = run.prove("the wall clock set back by an hour, and by a year", 2 * times)
        assert _epochs(run) == times + 1
    return figures


def _set(clock: Path, seconds: float) -> None:
    """Write atomically: a reader finds the old number or the new one."""
    new = clock.with_suffix(".new")
    new.write_text(str(seconds))
    new.rename(clock)


def _still_alive(run: Run) -> None:
    """Assert that records flow, checkpoints are written, connections reconnect and ``/readyz`` is 200, all in time."""
    written = status(run.bridge)["bridge"]["checkpoints_written"]
    run.wait_flow(deadline=10)
    wait_until(lambda: status(run.bridge)["bridge"]["checkpoints_written"] > written, 10, "a checkpoint")
    reconnects = _reconnects(run)
    for session in run.published():
        run.mix.post(f"/control/sessions/{session}/disconnect")
    wait_until(lambda: _reconnects(run) >= reconnects + run.load.sessions, 10, "reconnects", 0.05)
    run.wait_flow(deadline=10)
    assert run.bridge.get("/readyz").status == 200
    assert run.bridge.get("/livez").status == 200


def _reconnects(run: Run) -> int:
    return sum(one["reconnects"] for one in status(run.bridge)["sessions"])


def _epochs(run: Run) -> int:
    """Return the number of epochs of each session; AssertionError when they decrease or the numbers differ."""
    found: dict[bytes | None, list[str]] = {}
    for record in read_topic(run.place.kafka, f"{run.place.namespace}.checkpoints"):
        if (record.key or b"").startswith(b"#"):
            continue  # the bridge's own
        with suppress(IndexError):
            epoch = (record.value or b"").split(b'"epoch":')[1].split(b",")[0].rstrip(b"}").decode()
            found.setdefault(record.key, []).append(epoch)
    counts = set()
    for epochs in found.values():
        numbers = list(map(int, epochs))
        assert numbers == sorted(numbers), numbers
        counts.add(len(set(numbers)))
    assert len(counts) == 1, counts
    return counts.pop()


def _seconds(call: Callable[[], object]) -> float:
    start = monotonic()
    call()
    return monotonic() - start
