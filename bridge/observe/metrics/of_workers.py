"""The metrics of a process that supervises workers, beside the sums of their own."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.observe.metrics.family import Family, Kind

Seats = Mapping[int, tuple[bool, int]]
"""By the number of a worker: whether its process runs, and how often it was started again."""

WORKERS = (
    Family(
        "worker_up", Kind.GAUGE, ("worker",), "1 while the process of the worker runs.",
        lambda seats: {(str(number),): int(is_up) for number, (is_up, _) in seats.items()},
        "If it stays 0, the log says why the worker ended: its sessions wait for it.",
    ),
    Family(
        "worker_restarts", Kind.COUNTER, ("worker",), "Times a worker that ended was started again.",
        lambda seats: {(str(number),): restarts for number, (_, restarts) in seats.items()},
        "If it rises, the log says why the worker ends.",
    ),
)  # fmt: skip
