"""A Mix server whose answers a test chooses, and which records its requests."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.fakes.raw_server import CHUNKED, Peer, answer, chunk, serving

Script = Callable[[Peer], None]


class Asked(NamedTuple):
    """One request of a stream. ``last_event_id`` None: the header was left out."""

    session: str
    last_event_id: str | None
    headers: dict[str, bytes]


@dataclass
class ScriptedMix:
    """``streams`` has the script of each session's stream; others get 404. ``listed`` is the list of sessions."""

    url: str = ""
    streams: dict[str, Script] = field(default_factory=dict)
    listed: list[Any] = field(default_factory=list)
    list_answer: bytes | None = None
    """Sent instead of the list."""
    prefix: str = ""
    """Before every path; requests without it get 404."""
    token: str | None = None
    """Requests without it as bearer token get 401."""
    asked: list[Asked] = field(default_factory=list)
    lists: int = 0
    """The number of requests for the list."""

    def ids_of(self, session: str) -> list[str | None]:
        """Return the ``Last-Event-ID`` of each request for a session's stream."""
        return [each.last_event_id for each in self.asked if each.session == session]

    def list(self, *ids: str) -> None:
        """List these sessions from now on."""
        self.listed = [listing(one) for one in ids]

    def serve(self, streams: Mapping[str, Script]) -> None:
        """List exactly these sessions and serve their streams from now on."""
        self.streams = dict(streams)
        self.list(*streams)

    def _answer(self, peer: Peer) -> None:
        if not peer.request:  # the client closed the connection before it sent a request
            return
        if self.token is not None and peer.headers.get("authorization") != f"Bearer {self.token}".encode():
            peer.send(answer(401))
            return
        target = urlsplit(peer.request.split(b" ")[1].decode())
        path = target.path.removeprefix(self.prefix) if target.path.startswith(self.prefix) else ""
        if path == "/api/sessions":
            self.lists += 1
            body = json.dumps(self.listed).encode()
            peer.send(self.list_answer or answer(200, b"Content-Type: application/json", body=body))
            return
        if path != "/stream":
            not_found(peer)
            return
        session = parse_qs(target.query).get("sessionId", [""])[0]
        header = peer.headers.get("last-event-id")
        self.asked.append(Asked(session, None if header is None else header.decode(), peer.headers))
        self.streams.get(session, not_found)(peer)


@contextmanager
def scripted_mix(
    streams: Mapping[str, Script] | None = None, *, prefix: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedMix]:
    """Run the server, with these sessions, for the duration of a test."""
    mix = ScriptedMix(prefix=prefix)
    mix.serve(streams or {})
    with serving(mix._answer, tls) as server:
        mix.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}{prefix}"
        yield mix


def listing(session: str, **more: object) -> dict[str, Any]:
    """Return one entry of ``GET /api/sessions``."""
    return {"id": session, "title": session, "sessionType": "main", "createdAt": "2026-01-01T00:00:00Z", **more}


def not_found(peer: Peer) -> None:
    """Answer with 404."""
    peer.send(answer(404))


def status(code: int) -> Script:
    """Answer always with this status."""
    return lambda peer: peer.send(answer(code))


def block(event_id: str | None, name: str, data: str) -> bytes:
    """Encode one event."""
    first = "" if event_id is None else f"id: {event_id}\n"
    return f"{first}event: {name}\ndata: {data}\n\n".encode()


def content(text: object) -> str:
    """Return the data of a valid ``content`` event."""
    return json.dumps({"type": "content", "content": str(text)})


def contents(*numbers: int) -> list[bytes]:
    """Encode ``content`` events whose id and text are these numbers."""
    return [block(str(number), "content", content(number)) for number in numbers]


def send(peer: Peer, blocks: Sequence[bytes]) -> None:
    """Send the head of a chunked stream and these blocks, in one write."""
    peer.send(CHUNKED + b"".join(map(chunk, blocks)))


def stream(*blocks: bytes) -> Script:
    """Send these blocks for every request; then keep the stream open."""

    def script(peer: Peer) -> None:
        send(peer, blocks)
        peer.hold()

    return script


def cut(*blocks: bytes) -> Script:
    """Send these blocks and close the connection."""
    return lambda peer: send(peer, blocks)


class Feed:
    """A stream of ``content`` events with ids from 1: replays after an id, then continues live.

    Any thread.
    """

    def __init__(self, count: int = 0) -> None:
        self._blocks: list[bytes] = []
        self._changed = threading.Condition()
        self._cuts = 0
        self.add(count)

    def add(self, count: int) -> None:
        """Add this number of events."""
        with self._changed:
            start = len(self._blocks)
            self._blocks += contents(*range(start + 1, start + count + 1))
            self._changed.notify_all()

    def push(self, name: str, data: str) -> None:
        """Add one event of any kind."""
        with self._changed:
            self._blocks.append(block(str(len(self._blocks) + 1), name, data))
            self._changed.notify_all()

    def cut(self) -> None:
        """End all its connections."""
        with self._changed:
            self._cuts += 1
            self._changed.notify_all()

    def __call__(self, peer: Peer) -> None:
        """Serve one connection to its end."""
        header = peer.headers.get("last-event-id")
        at = len(self._blocks) if header is None else max(int(header), 0)
        cuts = self._cuts
        peer.send(CHUNKED)
        while self._cuts == cuts and not peer.server.ending.is_set():
            with self._changed:
                if len(self._blocks) <= at:
                    self._changed.wait(0.1)
                new = self._blocks[at:]
            peer.send(b"".join(map(chunk, new)))
            at += len(new)
