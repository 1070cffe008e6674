"""Lets readers wait for larger pieces while the process has less processor time than its sessions need.

Each read costs several changes of threads, which is much more than one event in it. With thousands of busy sessions and
too little time all readers wait for the interpreter, and every other thread waits behind them. A reader that waits a
second longer reads the events of that second at once, so the same events cost a part of the time.
"""

from __future__ import annotations

_TOLERATED = 0.1
"""Seconds by which a tick may be late on a machine that has enough time."""
_LONGEST_FOR_EACH = 3e-3
"""Seconds of waiting for each reader of the process: few readers are not what takes the time."""
_LONGEST = 10.0
"""Seconds. A dead connection is noticed that much later."""
_GAIN = 4
"""Seconds that the wait grows for each second of delay: the sooner all readers wait, the shorter the delay."""
_DECAY = 0.95
"""Part of the wait that stays after a tick in time: half of it is left after 7 s."""


class ReadLinger:
    """How long readers wait for a larger piece, judged by how late the main loop comes to its ticks.

    Thread rule: ``ticked`` is for the main loop, ``seconds`` for any thread. Times are those of ``clock.monotonic``.
    """

    def __init__(self) -> None:
        self._due = float("inf")
        """When the next tick should begin."""
        self._linger = 0.0
        self._longest = 0.0

    def ticked(self, began: float, due: float, readers: int) -> None:
        """A tick began; the next one should begin at ``due``."""
        self._longest = min(_LONGEST, readers * _LONGEST_FOR_EACH)
        late = began - self._due
        self._linger = self._after(late) if late > _TOLERATED else self._linger * _DECAY
        self._due = due

    def seconds(self, now: float) -> float:
        """Seconds for which a reader should wait at ``now`` if less than a large piece is there."""
        return self._after(now - self._due)  # the main loop itself may wait for the interpreter for seconds

    def _after(self, late: float) -> float:
        return min(self._longest, self._linger + (_GAIN * late if late > _TOLERATED else 0.0))
