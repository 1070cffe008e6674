"""The foreign server as a process, and its library, fetched once by npm."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import NoReturn, Self

import pytest

from bridge.simulator.server.journal import JournalEntry, read_journal
from tests.support.processes import spawn
from tests.support.waiting import TIMEOUT, wait_until

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
STAMP = HERE / "node_modules" / ".fetched-for"
OLDEST_NODE = 18
INSTALL = f"the foreign server needs Node.js {OLDEST_NODE} or newer and npm, for example: apt-get install nodejs npm"


class ForeignServer:
    """``node server.js``. Used by one thread at a time."""

    def __init__(self, folder: Path, rate: int) -> None:
        """``rate``: events per second of each channel."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rate = rate
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        fetch()
        command: list[str | Path] = ["node", HERE / "server.js", self._journal, str(self._rate)]
        log = self._folder / "foreign.log"
        self._process = spawn(command, log=log, stdout=self._said)
        wait_until(self._lines, 20, f"the foreign server's address, see {log}")
        self.url = self._lines()[0]
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> dict[str, int]:
        """Let it publish no more; how many events it has published, by channel."""
        request = urllib.request.Request(self.url + "/end", method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=TIMEOUT) as response:
            counts: dict[str, int] = json.loads(response.read())
        return counts

    def journal(self) -> dict[str, list[JournalEntry]]:
        """All it has published, by channel, in order: what it gave to the library."""
        return read_journal(self._journal)

    def requests(self, channel: str) -> list[str | None]:
        """The Last-Event-ID of every connection to a channel, in order."""
        connections = [json.loads(line) for line in self._lines()[1:]]
        return [one.get("last_event_id") for one in connections if one["url"] == f"/channels/{channel}/events"]

    @property
    def _journal(self) -> Path:
        return self._folder / "journal.jsonl"

    @property
    def _said(self) -> Path:
        return self._folder / "foreign.stdout"

    def _lines(self) -> list[str]:
        text = self._said.read_text() if self._said.exists() else ""
        return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


def fetch() -> None:
    """Fetch the library when it is missing or another one is locked; skip the test where there is no Node.js.

    Safe for several processes at once: one fetches, the others wait for it.
    """
    _need_node()
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
        if not STAMP.exists() or STAMP.read_text() != wanted:
            _run("npm", "ci")
            STAMP.write_text(wanted)


def _need_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        _missing(INSTALL)
    version = _run("node", "--version").strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        _missing(f"{INSTALL} (this is {version})")


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):  # a promise that nobody looks at is none: CI installs what is missing
        pytest.fail(what)
    pytest.skip(what)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
