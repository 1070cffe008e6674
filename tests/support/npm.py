"""Packages of npm for tests, locked with hashes, fetched once."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.support.optional import missing

OLDEST_NODE = 18
INSTALL = f"needs Node.js {OLDEST_NODE} or newer and npm, for example: apt-get install nodejs npm"


def fetch(folder: Path) -> Path:
    """Fetch what ``package-lock.json`` of this folder names; skip the test where there is no Node.js.

    Returns ``node_modules``. Safe for several processes at once: one fetches, the others wait for it.
    """
    _need_node(folder)
    lock, stamp = folder / "package-lock.json", folder / "node_modules" / ".fetched-for"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            _run(folder, "npm", "ci")
            stamp.write_text(wanted)
    return stamp.parent


def _need_node(folder: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing(INSTALL)
    version = _run(folder, "node", "--version").strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        missing(f"{INSTALL} (this is {version})")


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
