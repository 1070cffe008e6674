"""When checkpoints of busy sessions are written: often while there are few of them."""

from __future__ import annotations

from typing import cast

import pytest

from bridge.delivery.checkpoint_writer import CheckpointSchedule
from bridge.delivery.idempotent_sender import IdempotentSender


class BusySender:
    """Its position moves all the time."""

    def __init__(self) -> None:
        self.written = 0

    def write_checkpoint(self) -> bool:
        self.written += 1
        return True


@pytest.mark.parametrize(("busy", "a_second"), [(1, 50), (20, 50), (100, 10), (500, 2), (2000, 1)])
def test_checkpoints_are_as_frequent_as_a_thousand_a_second_allow(busy: int, a_second: int) -> None:
    """Each session's, every 20 ms at most, and every checkpoint interval at least."""
    schedule, seconds, step = CheckpointSchedule(1.0), 4, 0.005
    fakes = [BusySender() for _ in range(busy)]
    senders = cast("list[IdempotentSender]", fakes)
    for turn in range(int(seconds / step)):
        schedule.note_moved(senders)
        schedule.write_due(1 + turn * step, senders, frozenset(), lambda _: True, is_stopping=False)
    assert sum(each.written for each in fakes) / busy / seconds == pytest.approx(a_second, rel=0.3)
