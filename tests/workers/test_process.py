"""A worker's process and place, beside a parent that lives or has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import IO, cast

import pytest

from bridge.workers.process import Slot
from tests.support.waiting import TIMEOUT, wait_until

WORKER = "import sys; from bridge.workers.process import end_with_parent; end_with_parent(int(sys.argv[1]))"

AWAY = "kafka.bootstrap_servers=127.0.0.1:9", "servers.local.url=http://127.0.0.1:9", "http.port=none"
PARENT = """
import sys
sys.executable = "/nonexistent"  # as where the system allows no more processes
from bridge.cli import main
main()
"""


def test_the_parent_goes_on_when_it_cannot_start_a_worker() -> None:
    """The workers that run need it, and it tries again."""
    options = [part for text in AWAY for part in ("--set", text)]
    line = [sys.executable, "-c", PARENT, "run", "--workers", "2", *options]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as parent:
        for _ in range(2):
            wait_until(lambda: "cannot start a worker" in cast("IO[str]", parent.stderr).readline())
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(TIMEOUT) == 0


@pytest.mark.parametrize(("lives", "code"), [(True, 0), (False, -signal.SIGTERM)])
def test_a_worker_whose_parent_was_killed_before_it_began_ends(*, lives: bool, code: int) -> None:
    """Whoever is its parent by then is not the process that would stop it or start it again."""
    read_fd, write_fd = os.pipe()
    try:
        if not lives:
            os.close(read_fd)
        done = subprocess.run(
            [sys.executable, "-c", WORKER, str(write_fd)], pass_fds=[write_fd], timeout=TIMEOUT, check=False
        )
        assert done.returncode == code
    finally:
        os.close(write_fd)
        if lives:
            os.close(read_fd)


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
