"""Broker failures: restarted, killed, paused, down, disk full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bridge.clock import monotonic
from tests.support.broker import Broker, Cluster
from tests.support.waiting import wait_until
from tests.torture.run import Figures, Load, Place, Run

Trouble = Callable[[Run, Broker], None]

_DISK = 64
"""MiB: the topics of a short run and the index files that Kafka allocates for each partition."""
_STILL = 2.0
"""Seconds without an acknowledgement after which delivery counts as blocked."""
_LONG_SESSION_TIMEOUT = {"kafka.group_session_timeout": "60s"}
"""A restart of a broker can take longer than the default; other tests cover the loss of membership."""
_REPLICATED = {"topics.replication_factor": 3}


def restarted(run: Run, broker: Broker) -> None:
    """Restart the broker gracefully."""
    run.wait_flow()
    broker.terminate()
    broker.start()


def killed(run: Run, broker: Broker) -> None:
    """``kill -9`` and an immediate start."""
    run.wait_flow()
    broker.kill()
    broker.start()


def paused(least: float, most: float) -> Trouble:
    """Return a fault: SIGSTOP for some seconds; connections stay open and unanswered."""

    def trouble(run: Run, broker: Broker) -> None:
        run.wait_flow()
        broker.pause()
        run.pause(least, most)
        assert run.bridge.get("/livez").status == 200
        broker.resume()

    return trouble


def in_trouble(folder: Path, namespace: str, troubles: Sequence[Trouble], times: int, done: str) -> Figures:
    """Inject each fault this number of times into one broker; records whose outcome was unknown are stored once."""
    with (
        Broker(folder / "kafka") as broker,
        Run(Place(folder, broker.bootstrap, namespace), more=_LONG_SESSION_TIMEOUT) as run,
    ):
        run.bridge.start().wait_ready()
        for _ in range(times):
            for trouble in troubles:
                trouble(run, broker)
        run.wait_flow()
        run.finish()
        figures = run.prove(done, times * len(troubles))
        assert figures.repeats == 0
        return figures


def one_of_three_killed(folder: Path, namespace: str, times: int) -> Figures:
    """Kill the leader of a partition each time; acknowledgements need two replicas, so the others continue."""
    with _cluster(folder) as cluster, Run(Place(folder, cluster.bootstrap, namespace), more=_REPLICATED) as run:
        run.bridge.start().wait_ready()
        for number in range(times):
            run.wait_flow()
            broker = cluster.leader_of(f"{namespace}.events", number % 2)
            broker.kill()
            run.wait_flow(run.load.of_a_second)
            broker.start(wait=False).wait_ready(3)
        run.finish()
        return run.prove("`kill -9` of one of three brokers (replication 3, min.insync 2)", times)


def all_away(folder: Path, namespace: str, seconds: float, times: int) -> Figures:
    """Kill all three brokers and start them again after a while."""
    with _cluster(folder) as cluster, Run(Place(folder, cluster.bootstrap, namespace), more=_REPLICATED) as run:
        run.bridge.start().wait_ready()
        for _ in range(times):
            run.wait_flow()
            for broker in cluster.brokers:
                broker.kill()
            run.pause(seconds)
            assert run.bridge.get("/livez").status == 200
            cluster.start()
        run.wait_flow()
        run.finish(240)
        return run.prove(f"all three brokers killed, away for {seconds:g} s", times)


def _cluster(folder: Path) -> Cluster:
    return Cluster(folder / "kafka", properties={"min.insync.replicas": "2"})


def disk_full(folder: Path, namespace: str, times: int) -> Figures:
    """Fill the broker's disk, free it and restart the broker."""
    with small_disk(folder / "disk") as disk:
        properties = {"log.dirs": str(disk / "topics"), "metadata.log.dir": str(folder / "metadata")}
        load = Load(sessions=10, rate=50)
        with (
            Broker(folder / "kafka", properties=properties) as broker,
            Run(Place(folder, broker.bootstrap, namespace), load) as run,
        ):
            run.bridge.start().wait_ready()
            for _ in range(times):
                run.wait_flow()
                ballast = _fill(disk)
                _wait_still(run)
                assert run.bridge.get("/livez").status == 200
                ballast.unlink()
                broker.kill()  # it ends by itself some time after its only log folder fails
                broker.start()
            run.wait_flow()
            run.finish()
            figures = run.prove("the broker's disk full", times)
            broker.kill()  # umount needs all files on the disk closed
            return figures


def can_mount() -> bool:
    """Return whether this process may mount a small disk."""
    return os.geteuid() == 0


@contextmanager
def small_disk(mount: Path) -> Iterator[Path]:
    """Mount a disk in memory."""
    mount.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}m", "tmpfs", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)


def _fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def _wait_still(run: Run) -> None:
    """Return once no record has been acknowledged for ``_STILL`` seconds."""
    seen, since = run.acknowledged(), monotonic()

    def still() -> bool:
        nonlocal seen, since
        now = run.acknowledged()
        if now != seen:
            seen, since = now, monotonic()
        return monotonic() - since > _STILL

    wait_until(still, 60, "an end of the acknowledgements", 0.1)
