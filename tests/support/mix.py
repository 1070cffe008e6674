"""The simulated Mix server as a process of its own, and the comparison of Kafka with its journal."""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bridge.simulator.server.journal import JournalEntry, read_journal
from tests.support.forked import Process
from tests.support.processes import spawn
from tests.support.repository import REPOSITORY
from tests.support.rule import Followed, Follower, follow
from tests.support.topics import Read, read_topic
from tests.support.waiting import TIMEOUT, wait_until

# Bytes of data that a dead letter contains at most.
_WHOLE = 64 * 1024
# Characters of a name that are compared: the header of a dead letter is cut there.
_NAME = 1000


class MixServer:
    """``python -m bridge.simulator`` with a journal. Used by one thread at a time."""

    def __init__(self, folder: Path, *options: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.journal_path = folder / "journal.jsonl"
        self._folder = folder
        self._options = [str(option) for option in options]
        self._process: Process | None = None
        self.url = ""

    def __enter__(self) -> Self:
        stdout = self._folder / "mix.stdout"
        server = [sys.executable, "-m", "bridge.simulator"]
        command: list[str | Path] = [*server, "--port", "0", "--journal", self.journal_path]
        log = self._folder / "mix.log"
        self._process = spawn([*command, *self._options], log=log, stdout=stdout, cwd=REPOSITORY)
        self.url = wait_until(lambda: _first_line(stdout), 20, f"the simulated server's address, see {log}")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL. Can be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the control API."""
        request = urllib.request.Request(self.url + path, json.dumps(body or {}).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        return self._call(request)

    def delete(self, path: str) -> Any:
        """Call the control API."""
        return self._call(urllib.request.Request(self.url + path, method="DELETE"))

    def get(self, address: str, **query: object) -> Any:
        """Query the control API; parameters that are None are left out."""
        asked = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        return self._call(urllib.request.Request(f"{self.url}{address}?{asked}"))

    def _call(self, request: urllib.request.Request) -> Any:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=TIMEOUT) as response:
            return json.loads(response.read() or b"null")

    # --- faults, see docs/development/simulated-server.md

    def fault(self, kind: str, **fields: object) -> int:
        """Inject a fault: its own fields, ``session``, ``times``, ``seconds`` and ``streams``. Return the number."""
        number: int = self.post("/control/faults", {"kind": kind, **fields})["number"]
        return number

    def clear(self, number: int | None = None) -> int:
        """End one lasting fault, or all. Return how many ended."""
        cleared: int = self.delete("/control/faults" if number is None else f"/control/faults/{number}")["cleared"]
        return cleared

    def faults(self) -> list[dict[str, Any]]:
        """Return all faults, oldest first."""
        listed: list[dict[str, Any]] = self.get("/control/faults")
        return listed

    def publish_malformed(self, session: str, kind: str, size: int | None = None) -> None:
        """Publish a malformed event."""
        asked = {"kind": kind} if size is None else {"kind": kind, "size": size}
        self.post(f"/control/sessions/{urllib.parse.quote(session, '')}/poison", asked)

    def burst(self, session: str, count: int) -> None:
        """Publish the agent's next events now."""
        self.post(f"/control/sessions/{urllib.parse.quote(session, '')}/burst", {"count": count})

    def publish(self, session: str, *events: tuple[str, str]) -> None:
        """Publish exactly these events, as name and data."""
        listed = [{"event": event, "data": data} for event, data in events]
        self.post(f"/control/sessions/{urllib.parse.quote(session, '')}/events", {"events": listed})

    def requests(self, after: int = 0, path: str | None = None, session: str | None = None) -> list[dict[str, Any]]:
        """Return the requests above a number, with their headers (names in lower case)."""
        noted: list[dict[str, Any]] = self.get("/control/requests", after=after, path=path, session=session)
        return noted

    def streams(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the streams above a number: session, request headers, opened, closed (monotonic)."""
        noted: list[dict[str, Any]] = self.get("/control/streams", after=after)
        return noted

    def counts(self, session: str) -> dict[str, int]:
        """Return a session's counters: published, readers, opened, most_readers; more with ``--kind snapshot``."""
        return next(each for each in self.get("/control/sessions") if each["id"] == session)

    def lost(self, session: str) -> set[int]:
        """Return the sequences that no reader received whole and none can receive any more."""
        spans = self.get("/control/lost", session=session)["spans"]
        return {sequence for first, last in spans for sequence in range(first, last + 1)}

    # --- what it published

    def journal(self) -> dict[str, list[JournalEntry]]:
        """Return all published events per session, in order."""
        return read_journal(self.journal_path)


def _first_line(path: Path) -> str:
    text = path.read_text() if path.exists() else ""
    return text.partition("\n")[0].strip() if "\n" in text else ""


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of a comparison with the journal."""

    events: int
    follower: Follower

    @property
    def repeats(self) -> int:
        """Records that a consumer drops, because it has had their number."""
        return len(self.follower.repeats)


def prove(  # noqa: PLR0913 - the journal, the topics, and what a test allows
    bootstrap: str,
    topics: Sequence[str],
    journal: Mapping[str, Sequence[JournalEntry]],
    *,
    server: str = "local",
    new_epochs: bool = False,
    lost: Mapping[str, Collection[int]] | None = None,
) -> Proof:
    """Compare Kafka byte for byte with the journal. AssertionError names a missing, altered or additional event.

    A consumer that follows the rule must have each event of each session once and in order; with ``new_epochs`` a new
    epoch may repeat events. ``lost``: per session the journal's sequences that the server itself lost
    (``MixServer.lost``); none of them may be there.
    """
    records: list[Read] = [record for topic in topics for record in read_topic(bootstrap, topic)]
    follower = follow(records)
    accepted = follower.by_key()
    assert set(accepted) <= {f"{server}/{session}" for session in journal}, "a key without a session in the journal"
    for session, entries in journal.items():
        got = sorted(accepted.get(f"{server}/{session}", []), key=lambda one: one.number)
        gone = (lost or {}).get(session, ())
        expected = [_expected(entry) for entry in entries if entry.sequence not in gone]
        _compare(session, [_got(one) for one in got], expected, new_epochs=new_epochs)
        for epoch in {one.epoch for one in got}:
            numbers = [one.sequence for one in got if one.epoch == epoch]
            assert numbers == list(range(1, len(numbers) + 1)), f"{session}, epoch {epoch}: numbers {numbers[:5]}..."
    return Proof(sum(len(entries) for entries in journal.values()), follower)


def _expected(entry: JournalEntry) -> tuple[str, bytes]:
    return entry.event[:_NAME], entry.data if len(entry.data) <= _WHOLE else _digest(entry.data)


def _got(one: Followed) -> tuple[str, bytes]:
    """Return the event's name and data; for a dead letter that was cut, the digest of all of its data."""
    named, size = one.record.header("bridge.sha256"), int(one.record.header("bridge.bytes") or 0)
    if size > max(_WHOLE, len(one.data)) and named is not None:
        return one.event[:_NAME], b"sha256 " + named.encode()
    return one.event.removeprefix("mix.")[:_NAME], one.data if len(one.data) <= _WHOLE else _digest(one.data)


def _digest(data: bytes) -> bytes:
    return b"sha256 " + hashlib.sha256(data).hexdigest().encode()


def _compare(
    session: str, got: list[tuple[str, bytes]], expected: list[tuple[str, bytes]], *, new_epochs: bool
) -> None:
    if new_epochs:
        got = _without_overlap(got, expected)
    for index, (one, other) in enumerate(zip(got, expected, strict=False)):
        assert one == other, f"{session}: event {index + 1} is {one}, the server sent {other}"
    assert len(got) == len(expected), f"{session}: {len(got)} events, the server sent {len(expected)}"


def _without_overlap(got: list[tuple[str, bytes]], expected: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Drop the repeats of new epochs: earlier events of the journal where the next one is expected."""
    kept: list[tuple[str, bytes]] = []
    for one in got:
        if len(kept) < len(expected) and one == expected[len(kept)]:
            kept.append(one)
        else:
            assert one in expected[: len(kept)], f"{one} is neither the next event nor a repeat"
    return kept
