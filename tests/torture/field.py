"""What machines and operators do to a daemon: no reader of the log, too few threads, a slow core, a long outage."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bridge.clock import monotonic
from tests.support.network_proxy import CLEAR, REFUSED, Proxy
from tests.support.process import MIX_BRIDGE, Bridge
from tests.support.scene import status
from tests.support.topics import end_offsets
from tests.support.unread import UnreadBridge, full_pipe
from tests.support.waiting import wait_until
from tests.torture.run import Figures, Load, Place, Run

_RESERVED_THREADS = 49
"""Of a process with one broker (``bridge.daemon.capacity``)."""
_PROBE_TIMEOUT = 5.0
"""Seconds that the manifest for Kubernetes gives a probe."""


def unread_log(place: Place, times: int) -> Figures:
    """Let stderr be a full pipe while connections are cut, then read it."""
    with full_pipe(place.folder / "bridge" / "bridge.log") as pipe, Proxy() as proxy, Run(place, through=proxy) as run:
        run.bridge = UnreadBridge(place.folder / "bridge", run.bridge.settings)
        run.bridge.start().wait_ready()
        for _ in range(times):
            run.wait_flow()
            proxy.cut()
            run.pause(1.0)
            assert run.bridge.get("/livez").status == 200
        reader = threading.Thread(target=_read_all, args=(pipe, place.folder / "read.log"), daemon=True)
        reader.start()
        run.wait_flow()
        run.finish()
        return run.prove("stderr is a pipe that nobody reads, connections cut", times)


def few_threads(place: Place) -> Figures:
    """Let half of the sessions fit into the limit of threads, then raise it."""
    load = Load()
    fit = load.sessions // 2
    with control_group("pids") as group, Run(place, load) as run:
        (group / "pids.max").write_text(str(_RESERVED_THREADS + fit))
        bridge = run.bridge_with(program=within(group)).start()
        wait_until(lambda: _states(bridge) == {"streaming": fit, "not_bridged": fit}, 60, "half of the sessions", 0.2)
        assert bridge.get("/readyz").status == 503
        run.wait_flow()
        (group / "pids.max").write_text("max")
        wait_until(lambda: _states(bridge) == {"streaming": load.sessions}, 60, "all sessions", 0.2)
        bridge.wait_ready()
        run.finish()
        return run.prove("threads for half of the sessions, then the limit is raised", 1)


def outage_of_many(place: Place, seconds: float, sessions: int = 1000) -> Figures:
    """Refuse all connections of many sessions for a while; count the lines of the log."""
    load = Load(sessions, rate=0.5)
    with Proxy() as proxy, Run(place, load, {"log.level": "info"}, proxy) as run:
        run.bridge.start().wait_ready(120)
        run.wait_flow(sessions)
        before, announced = len(run.bridge.log_lines()), _lifecycle(place)
        proxy.set(REFUSED)
        proxy.cut()
        run.pause(seconds)
        assert run.bridge.get("/livez").status == 200
        lines = run.bridge.log_lines()[before:]
        proxy.set(CLEAR)
        run.bridge.wait_ready(120)
        run.finish(300)
        kinds = Counter((line["event"], line.get("server"), line.get("reason")) for line in lines)
        assert all(count <= 2 + seconds / 30 for count in kinds.values()), kinds
        records = _lifecycle(place) - announced
        assert records <= 2 * sessions
        remark = f"{seconds:g} s: {len(lines)} lines, {records} lifecycle records"
        return run.prove(f"outage of the server with {sessions:,} sessions", 1, remark=remark)


class Probes(NamedTuple):
    """The answers of ``/livez`` within the timeout of a probe."""

    answered: int
    failed: int
    slowest: float


def slow_core(place: Place, guarantee: str, seconds: float, sessions: int = 3000, share: float = 0.2) -> Figures:
    """Give the daemon a fifth of a core while all its sessions are busy, then the whole core again."""
    load = Load(sessions, rate=1.0)
    with Run(place, load, {"log.level": "info", "delivery.guarantee": guarantee}) as run:
        run.bridge.start().wait_ready(180)
        wait_until(lambda: _states(run.bridge) == {"streaming": sessions}, 240, "all sessions", 1.0)
        run.wait_flow(sessions, 120)
        assigned = _metric(run.bridge, "mix_bridge_assignments_total")
        with control_group("cpu") as group:
            _set_share(group, share)
            (group / "cgroup.procs").write_text(str(run.bridge.pid))
            probes = _probe(run.bridge, seconds)
        assert run.bridge.running, run.bridge.log_text()[-2000:]
        run.settle(600)
        again = _metric(run.bridge, "mix_bridge_assignments_total") - assigned
        assert run.bridge.terminate(120) == 0, run.bridge.log_text()[-2000:]
        assert not again, f"shards assigned again: {again:g}"
        remark = (
            f"{seconds:g} s in {share:.0%} of a core: /livez answered {probes.answered} times, failed {probes.failed},"
            f" the slowest after {probes.slowest:.1f} s; shards assigned again: {again:g}"
        )
        done = f"{sessions:,} busy sessions in a fifth of a core, {guarantee.replace('_', ' ')}"
        return run.prove(done, 1, remark=remark)


def _probe(bridge: Bridge, seconds: float) -> Probes:
    answered, failed, slowest, end = 0, 0, 0.0, monotonic() + seconds
    while monotonic() < end:
        begun = monotonic()
        ok = _is_live(bridge)
        took = monotonic() - begun
        slowest, is_in_time = max(slowest, took), took < _PROBE_TIMEOUT
        answered, failed = answered + (ok and is_in_time), failed + (not ok or not is_in_time)
        wait_until(lambda begun=begun: monotonic() - begun > 2, 10)  # type: ignore[misc]
    return Probes(answered, failed, slowest)


def _is_live(bridge: Bridge) -> bool:
    try:
        answer = bridge.get("/livez")
    except TimeoutError:
        return False
    if answer.status != 200:
        print(f"/livez: {answer.status} {answer.text}", file=sys.stderr)
    return answer.status == 200


def can_limit() -> bool:
    """Whether this user may make control groups."""
    return all(_mount(controller) is not None for controller in ("pids", "cpu"))


@contextmanager
def control_group(controller: str) -> Iterator[Path]:
    """A group of version 1 or 2; at the end its processes leave it."""
    mount = _mount(controller)
    assert mount is not None, "no right to make control groups"
    group = mount / f"mix-bridge-torture-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        for each in (group / "cgroup.procs").read_text().split():
            (mount / "cgroup.procs").write_text(each)
        wait_until(lambda: not (group / "cgroup.procs").read_text(), 10, "an empty group")
        group.rmdir()


def within(group: Path) -> tuple[str, ...]:
    """The bridge, in this group from its start."""
    return ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *MIX_BRIDGE)


def _set_share(group: Path, share: float) -> None:
    """Of one core; the two versions of control groups have different files."""
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{int(share * 100_000)} 100000")
    else:
        (group / "cpu.cfs_quota_us").write_text(str(int(share * 100_000)))


def _mount(controller: str) -> Path | None:
    for mount in (Path("/sys/fs/cgroup", controller), Path("/sys/fs/cgroup")):
        if (mount / "cgroup.procs").exists() and os.access(mount / "cgroup.procs", os.W_OK):
            return mount
    return None


def _states(bridge: Bridge) -> Counter[str]:
    return Counter(each["state"] for each in status(bridge)["sessions"])


def _lifecycle(place: Place) -> int:
    return sum(end_offsets(place.kafka, f"{place.namespace}.lifecycle").values())


def _metric(bridge: Bridge, name: str) -> float:
    lines = bridge.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split(" ")[0].split("{")[0] == name)


def _read_all(pipe: int, to: Path) -> None:
    os.set_blocking(pipe, True)
    with to.open("wb") as file:
        while data := os.read(pipe, 65536):
            file.write(data)
