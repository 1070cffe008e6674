"""A server of event streams made of sse-starlette: the library frames the events, the application keeps them.

``GET /channels/NAME/events`` is the stream; ``POST /channels/NAME`` publishes a JSON list of ``{"id", "event",
"data"}``. The first line of its output is its address. As in the library's documentation, a client gets the events
after its ``Last-Event-ID``; an unknown id gets live events only.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Channel:
    """All events of one stream."""

    def __init__(self) -> None:
        self._events: list[dict[str, str]] = []
        self._published = asyncio.Condition()

    async def publish(self, events: list[dict[str, str]]) -> None:
        """Add events and wake the streams."""
        async with self._published:
            self._events += events
            self._published.notify_all()

    async def after(self, last_event_id: str | None) -> AsyncIterator[ServerSentEvent]:
        """Yield the events after this id, then the live ones."""
        ids = [event["id"] for event in self._events]
        sent = ids.index(last_event_id) + 1 if last_event_id in ids else len(ids)
        while True:
            for event in await self._from(sent):
                sent += 1
                yield ServerSentEvent(event["data"], event=event.get("event"), id=event["id"])

    async def _from(self, sent: int) -> list[dict[str, str]]:
        """Wait for events after the first ``sent`` ones and return them."""
        async with self._published:
            await self._published.wait_for(lambda: len(self._events) > sent)
        return self._events[sent:]


channels: dict[str, Channel] = defaultdict(Channel)


async def stream(request: Request) -> Response:
    """Answer a reader."""
    channel = channels[request.path_params["name"]]
    return EventSourceResponse(channel.after(request.headers.get("last-event-id")))


async def publish(request: Request) -> Response:
    """Publish the events of the body."""
    await channels[request.path_params["name"]].publish(await request.json())
    return Response(status_code=204)


application = Starlette(
    routes=[Route("/channels/{name}/events", stream), Route("/channels/{name}", publish, methods=["POST"])]
)

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(application, log_level="warning")).run([listener])
