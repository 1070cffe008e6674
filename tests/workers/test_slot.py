"""How long a worker hangs."""

from __future__ import annotations

from bridge.workers.process import Slot


def test_a_worker_hangs_since_the_first_of_the_looks_that_failed() -> None:
    """A good look ends the series."""
    slot = Slot(1)
    assert [slot.looked(now, is_well=False) for now in (100.0, 102.0, 131.0)] == [0.0, 2.0, 31.0]
    assert slot.looked(133.0, is_well=True) == 0.0
    assert slot.looked(135.0, is_well=False) == 0.0


def test_a_pause_of_the_whole_container_is_no_hang() -> None:
    """Nobody looked for an hour, and the worker's own loops have just begun to move again."""
    slot = Slot(1)
    assert slot.looked(100.0, is_well=True) == 0.0
    assert slot.looked(3700.0, is_well=False) == 0.0
