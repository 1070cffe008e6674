"""What the tests start ends with them, even if they are killed: processes, and the shared broker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.broker import answering
from tests.support.repository import REPOSITORY
from tests.support.waiting import wait_until


def test_the_shared_broker_ends_with_its_last_user_even_if_that_one_is_killed(tmp_path: Path) -> None:
    """Two users share one broker; after both are killed no process is left."""
    code = (
        "import sys, pathlib; from tests.support.shared import shared_broker\n"
        "with shared_broker(pathlib.Path(sys.argv[1])) as address: print(address, flush=True); sys.stdin.read()"
    )
    users = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
        )
        for _ in range(2)
    ]
    addresses = {user.stdout.readline() for user in users if user.stdout}
    assert len(addresses) == 1
    assert addresses != {b""}
    users[0].kill()
    users[0].communicate()
    answering(addresses.pop().decode().strip())
    assert _processes_naming(tmp_path)
    users[1].kill()
    users[1].communicate()
    wait_until(lambda: not _processes_naming(tmp_path), 20, "the end of the broker and its keeper")


def _processes_naming(folder: Path) -> list[int]:
    """Return the processes with this folder in their command line."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208  # /proc entries vanish meanwhile
        try:
            command = Path("/proc", entry, "cmdline").read_bytes() if entry.isdigit() else b""
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(int(entry))
    return found


def test_a_process_ends_when_its_parent_ends(tmp_path: Path) -> None:
    """A killed test run leaves no bridge behind."""
    code = (
        "import sys; from pathlib import Path; from tests.support.processes import spawn\n"
        "child = spawn(['sleep', '300'], log=Path(sys.argv[1])); print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert parent.stdout is not None
    child = Path("/proc", parent.stdout.readline().decode().strip())
    wait_until(lambda: (child / "comm").read_text() == "sleep\n", 10, "the child to run")  # bound to its parent by then
    parent.kill()
    parent.communicate()
    wait_until(lambda: not _is_alive(child), 10, "the child to end")


def _is_alive(process: Path) -> bool:
    """False also for a zombie."""
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
