"""A worker's process, beside a parent that lives or has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support.waiting import TIMEOUT

WORKER = "import sys; from bridge.workers.process import end_with_parent; end_with_parent(int(sys.argv[1]))"


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
