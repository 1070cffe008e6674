"""The simulated Mix server as a process of its own, and the proof against its journal."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bridge.demo.journal import JournalEntry, read_journal
from tests.kafka.process import REPOSITORY
from tests.kafka.rule import Follower, follow
from tests.kafka.topics import Read, read_topic
from tests.processes import spawn
from tests.waiting import wait_until


class MixServer:
    """``python -m bridge.demo.mix_server`` with a journal. Used by one thread at a time."""

    def __init__(self, folder: Path, *options: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.journal_path = folder / "journal.jsonl"
        self._folder = folder
        self._options = [str(option) for option in options]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        said = self._folder / "mix.stdout"
        server = [sys.executable, "-m", "bridge.demo.mix_server"]
        command: list[str | Path] = [*server, "--port", "0", "--journal", self.journal_path]
        log = self._folder / "mix.log"
        self._process = spawn([*command, *self._options], log=log, stdout=said, cwd=REPOSITORY)
        self.url = wait_until(lambda: _first_line(said), 20, f"the simulated server's address, see {log}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL. Can be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call its control interface."""
        request = urllib.request.Request(self.url + path, json.dumps(body or {}).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
            return json.loads(response.read() or b"null")

    def journal(self) -> dict[str, list[JournalEntry]]:
        """All it has published so far, per session, in order."""
        return read_journal(self.journal_path)


def _first_line(path: Path) -> str:
    text = path.read_text() if path.exists() else ""
    return text.partition("\n")[0].strip() if "\n" in text else ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a comparison with the journal found. Repeats are records a rule-following consumer dropped, by cause."""

    events: int
    follower: Follower

    @property
    def repeats(self) -> int:
        """Records with a number that was there before."""
        return len(self.follower.repeats)


def prove(
    bootstrap: str,
    topics: Sequence[str],
    journal: Mapping[str, Sequence[JournalEntry]],
    *,
    server: str = "local",
    new_epochs: bool = False,
) -> Proof:
    """Compare Kafka byte for byte with the journal; AssertionError says which event is missing, altered or too much.

    A consumer that follows the rule must have each event of each session, in order; exactly once, unless
    ``new_epochs`` allows that a new epoch repeats some.
    """
    records: list[Read] = [record for topic in topics for record in read_topic(bootstrap, topic)]
    follower = follow(records)
    accepted = follower.by_key()
    assert set(accepted) <= {f"{server}/{session}" for session in journal}, "a key of no session of the journal"
    for session, entries in journal.items():
        got = sorted(accepted.get(f"{server}/{session}", []), key=lambda one: one.number)
        _compare(session, [(one.event.removeprefix("mix."), one.data) for one in got], entries, new_epochs=new_epochs)
        for epoch in {one.epoch for one in got}:
            numbers = [one.sequence for one in got if one.epoch == epoch]
            assert numbers == list(range(1, len(numbers) + 1)), f"{session}, epoch {epoch}: numbers {numbers[:5]}..."
    return Proof(sum(len(entries) for entries in journal.values()), follower)


def _compare(session: str, got: list[tuple[str, bytes]], entries: Sequence[JournalEntry], *, new_epochs: bool) -> None:
    expected = [(entry.event, entry.data) for entry in entries]
    if new_epochs:
        got = _without_overlap(got, expected)
    for index, (one, other) in enumerate(zip(got, expected, strict=False)):
        assert one == other, f"{session}: event {index + 1} is {one}, the server sent {other}"
    assert len(got) == len(expected), f"{session}: {len(got)} events, the server sent {len(expected)}"


def _without_overlap(got: list[tuple[str, bytes]], expected: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Drop what a new epoch repeats: an event that stands where an earlier one of the journal should."""
    kept: list[tuple[str, bytes]] = []
    for one in got:
        if len(kept) < len(expected) and one == expected[len(kept)]:
            kept.append(one)
        else:
            assert one in expected[: len(kept)], f"{one} is neither the next event nor a repeat"
    return kept
