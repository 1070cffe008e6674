"""Run commands as on a fresh machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Variables that lead back to this checkout, or to the `make` that runs the tests.
_INHERITED = ("PYTHON", "VIRTUAL_ENV", "MIX_BRIDGE", "MAKE", "MFLAGS", "GNUMAKEFLAGS")


def attempt(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with ``variables`` added to a clean environment; stderr is part of its output."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**_clean(os.environ), "NO_COLOR": "1", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Return the output of a command; fail the test with that output when the command fails."""
    done = attempt(*command, cwd=cwd, **variables)
    assert done.returncode == 0, f"{done.args} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith(_INHERITED)}
