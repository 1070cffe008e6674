"""The wheel: what is in it, and that it runs where nothing but it and its locked requirements are installed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import bridge

REPOSITORY = Path(__file__).parents[2]

# A first run fetches every requirement (30 MB); later ones find them in pip's cache.
pytestmark = pytest.mark.timeout(400)


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command; its errors in the assertion when it fails."""
    # As a fresh machine: nothing of this checkout is found by way of a variable or of the working directory.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MIX_BRIDGE"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout with the locked build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPOSITORY, cwd=folder)
    return next(folder.glob("*.whl"))


def test_it_holds_the_package_with_its_data_and_nothing_else(wheel: Path) -> None:
    """Every file of the package, whatever its kind; no tests, no other files of the repository."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    metadata = f"mix_bridge-{bridge.__version__}.dist-info/"
    package = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "bridge").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(metadata)} == package


def test_it_runs_with_nothing_installed_but_its_locked_requirements(wheel: Path, tmp_path: Path) -> None:
    """A fresh environment, requirements by hash, the wheel without looking for more: the commands work."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    pip = (programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "install", "--require-hashes", "-r", REPOSITORY / "requirements.txt", cwd=tmp_path)
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    run(*pip, "check", cwd=tmp_path)
    assert bridge.__version__ in run(programs / "mix-bridge", "--version", cwd=tmp_path)
    assert "namespace" in run(programs / "mix-bridge", "settings", "show", cwd=tmp_path)
