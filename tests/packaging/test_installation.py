"""The Makefile installs the lock files with every pip that a user may have."""

from __future__ import annotations

import ensurepip
import sys
from pathlib import Path

import pytest

import bridge
from tests.packaging.commands import run
from tests.support.repository import REPOSITORY

# The pip that the first release of each Python brought.
_FIRST_PIP = {(3, 11): "22.3", (3, 12): "23.2.1", (3, 13): "24.2"}
_OLDEST = _FIRST_PIP.get(sys.version_info[:2], ensurepip.version())

# About 25 s of CPU with the oldest pip and 12 s with the newest. The first run also fetches every package (90 MB).
pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("registry")]


@pytest.mark.parametrize("pip", [f"pip=={_OLDEST}", "pip"], ids=["oldest", "newest"])
def test_all_locks_install_into_a_new_environment(pip: str, tmp_path: Path) -> None:
    """The Makefile's own recipe runs, with all lock files and ``pip check``, so its options are written only there."""
    environment = tmp_path / "venv"
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    run(sys.executable, "-m", "pip", "--python", python, "install", "--upgrade", pip, cwd=tmp_path)
    before = run(python, "-m", "pip", "--version", cwd=tmp_path)

    # Byte code costs a fifth of the time and does not change what pip chooses.
    run("make", f"VENV={environment}", environment / ".development", cwd=REPOSITORY, PIP_COMPILE="0")

    run(python, "-m", "pip", "check", cwd=tmp_path)
    assert bridge.__version__ in run(environment / "bin" / "mix-bridge", "--version", cwd=tmp_path)
    assert run(python, "-m", "pip", "--version", cwd=tmp_path) == before, "a lock replaced pip itself"
