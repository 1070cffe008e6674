"""A process that its parent started without standard streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY

SHOW = """
import os, socket, sys
from bridge.cli.standard_streams import open_missing
open_missing()
first = socket.socket()
names = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
sys.stderr.write("to nobody")
sys.stderr.flush()
with open(sys.argv[1], "w") as out:
    print(first.fileno() > 2, *names, file=out)
"""


@pytest.mark.parametrize(("closed", "kept"), [("<&- >&- 2>&-", 0), ("2>&-", 2), ("<&-", 2), ("", 3)])
def test_no_connection_gets_the_number_of_a_closed_standard_stream(tmp_path: Path, closed: str, kept: int) -> None:
    """What is written to a closed one gets nowhere, and open ones are kept."""
    out, program = tmp_path / "out", tmp_path / "show.py"
    program.write_text(SHOW)
    shell = f'exec "$0" "$1" "$2" {closed}'
    with (tmp_path / "kept").open("w+") as stream:
        subprocess.run(
            ["sh", "-c", shell, sys.executable, program, out],
            check=True,
            stdin=stream,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        stream.seek(0)
        assert ("to nobody" in stream.read()) is ("2>" not in closed)
    is_above, *names = out.read_text().split()
    assert is_above == "True"
    assert names.count(os.devnull) == 3 - kept
    assert names.count(str(tmp_path / "kept")) == kept
