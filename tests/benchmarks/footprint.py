"""The resources of a process, from ``/proc``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bridge.clock import monotonic
from tests.support.usage import processor_time

_ESTABLISHED = "01"


class Footprint(NamedTuple):
    """One process at one moment. Sizes in KiB."""

    at: float
    """By :func:`bridge.clock.monotonic`."""
    rss: int
    pss: int
    """As RSS, with what is shared with other processes counted in part."""
    virtual: int
    threads: int
    descriptors: int
    mappings: int
    """Of its address space: the kernel has a limit of them (``vm.max_map_count``)."""
    processor: float
    """Seconds used so far."""


def footprint(pid: int) -> Footprint:
    """Of a running process of the same user."""
    folder = Path(f"/proc/{pid}")
    sizes = _fields(folder / "smaps_rollup")
    status = _fields(folder / "status")
    return Footprint(
        monotonic(),
        sizes["Rss"],
        sizes["Pss"],
        status["VmSize"],
        status["Threads"],
        len(list((folder / "fd").iterdir())),
        len((folder / "maps").read_text().splitlines()),
        processor_time(pid),
    )


def processor_share(before: Footprint, after: Footprint) -> float:
    """Of one core, in percent."""
    return 100 * (after.processor - before.processor) / (after.at - before.at)


def connections(port: int) -> int:
    """Established connections of this machine to a port of its own loopback, seen from the client's end."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == _ESTABLISHED for row in rows)


def connections_of(pid: int, port: int) -> int:
    """Those of one process."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    own = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == _ESTABLISHED and row[9] in own for row in rows)


def most_within(moments: list[float], seconds: float) -> int:
    """The most of these moments that fall into any span of so many seconds."""
    ordered = sorted(moments)
    first = most = 0
    for at, moment in enumerate(ordered):
        while moment - ordered[first] > seconds:
            first += 1
        most = max(most, at - first + 1)
    return most


def _fields(path: Path) -> dict[str, int]:
    rows = (line.partition(":") for line in path.read_text().splitlines())
    return {name: int(value.split()[0]) for name, _, value in rows if value.split() and value.split()[0].isdigit()}
