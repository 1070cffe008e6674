"""The foreign server as a process, and its library, fetched once by npm."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Self

from bridge.simulator.server.journal import JournalEntry, read_journal
from tests.support.npm import fetch
from tests.support.processes import spawn
from tests.support.waiting import TIMEOUT, wait_until

HERE = Path(__file__).parent


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
        fetch(HERE)
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
