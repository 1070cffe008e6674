"""Takes the simulated server's connections, and plays the faults of accepting and of heads. Event loop thread only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate

import h11

from bridge.clock import unix_ms
from bridge.simulator.faults.kinds import Frame, Login, Mute, Place, Redirect, Status
from bridge.simulator.faults.registry import Entry, FaultRegistry
from bridge.simulator.server.body_writer import Outlet
from bridge.simulator.server.control import Control
from bridge.simulator.server.http_edge import Answer, Exchange, Refused, Request
from bridge.simulator.server.notifier import Notifier
from bridge.simulator.server.redirect_target import RedirectTarget
from bridge.simulator.server.request_log import RequestLog
from bridge.simulator.server.site import Site
from bridge.simulator.server.stream_log import StreamLog

_PLAIN = Frame()
_TO_ITS_END = Frame("close")
_LOGIN_PAGE = b"<!DOCTYPE html>\n<title>Log in</title>\n<form method=post><input name=user></form>\n"


class Connections:
    """Reads requests, finds out who answers them, keeps the open ones to end them."""

    def __init__(self, site: Site, control: Control, book: FaultRegistry, log: RequestLog, streams: StreamLog) -> None:
        self._site = site
        self._control = control
        self._book = book
        self._log = log
        self._streams = streams
        self._redirect_target = RedirectTarget(log)
        self._open: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._unanswered: set[Notifier] = set()
        book.watch(self._ring)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first request to its end."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in one
        self._open.add(task)
        exchange = Exchange(reader, writer)
        try:
            await self._converse(exchange, task)
        except h11.RemoteProtocolError as nonsense:
            await _refuse(exchange, nonsense)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()  # the client is gone, or the server is: nobody to tell
        finally:
            self._open.discard(task)
            writer.close()

    async def close(self, patience: float) -> None:
        """Wait up to ``patience`` seconds for streams to take what is left, then cut what is still open."""
        self._redirect_target.close()
        for task in self._idle:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=patience)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _converse(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        while (request := await self._next_request(exchange, task)) is not None:
            if request.path.startswith("/control/"):
                await exchange.answer(await self._control.answer(request))
            elif not await self._serve_reader(exchange, request):
                return

    async def _next_request(self, exchange: Exchange, task: asyncio.Task[None]) -> Request | None:
        self._idle.add(task)
        try:
            return await exchange.next_request()
        finally:
            self._idle.discard(task)

    async def _serve_reader(self, exchange: Exchange, request: Request) -> bool:
        """Serve one request that is no test's; whether the connection goes on."""
        self._log.note(request)
        is_stream = self._site.is_stream(request)
        met = self._book.take(Place.HEAD, request.query.get("sessionId"), lambda entry: _is_on(entry, is_stream))
        if met is not None and isinstance(met.fault, Mute):
            await self._say_nothing(exchange, met)
            return False
        if met is not None:
            await exchange.answer(await self._wrong(met, request))
        elif is_stream:
            return not await self._stream(exchange, request)
        else:
            await exchange.answer(await self._site.answer(request))
        return True

    async def _stream(self, exchange: Exchange, request: Request) -> bool:
        """Serve a stream to its end; False if it was refused and the connection goes on."""
        outlet = Outlet(exchange.writer, self._frame(request))
        try:
            body = self._site.body(request, exchange.writer, outlet)
        except Refused as refused:
            await exchange.answer(Answer.refusal(refused))
            return False
        exchange.begin([*outlet.head(), ("Cache-Control", "no-cache")])
        departure = asyncio.get_running_loop().create_task(_departure(exchange.reader, body.reader.end))
        try:
            with self._streams.open(request):
                await body.run()
        finally:
            departure.cancel()
        return True

    def _frame(self, request: Request) -> Frame:
        met = self._book.take(Place.FRAME, request.query.get("sessionId"))
        if met is not None and isinstance(met.fault, Frame):
            return met.fault
        return _PLAIN if request.http_version != "1.0" else _TO_ITS_END

    # --- wrong heads

    async def _wrong(self, met: Entry, request: Request) -> Answer:
        fault = met.fault
        if isinstance(fault, Redirect):
            to = fault.to or await self._redirect_target.address() + request.target
            return Answer(fault.status, headers=[("Location", to)])
        if isinstance(fault, Status):
            return _answer_of(fault)
        return Answer(200, _LOGIN_PAGE, "text/html; charset=utf-8")

    async def _say_nothing(self, exchange: Exchange, entry: Entry) -> None:
        notifier, gone = Notifier(), asyncio.Event()
        self._unanswered.add(notifier)

        def depart() -> None:
            gone.set()
            notifier.ring()

        departure = asyncio.get_running_loop().create_task(_departure(exchange.reader, depart))
        try:
            while not (entry.is_over or gone.is_set()):
                await notifier.wait()
        finally:
            departure.cancel()
            self._unanswered.discard(notifier)

    def _ring(self) -> None:
        for notifier in self._unanswered:
            notifier.ring()


async def _departure(reader: asyncio.StreamReader, tell: Callable[[], None]) -> None:
    """Tell when the client closes; what a client says on an open stream is not listened to."""
    while True:
        try:
            said = await reader.read(4096)
        except OSError:
            said = b""
        if not said:
            tell()
            return


async def _refuse(exchange: Exchange, nonsense: h11.RemoteProtocolError) -> None:
    try:
        await exchange.refuse_nonsense(nonsense)
    except (OSError, asyncio.CancelledError):
        exchange.writer.transport.abort()


def _is_on(entry: Entry, is_stream: bool) -> bool:  # noqa: FBT001 - a fact about the request, no switch
    fault = entry.fault
    assert isinstance(fault, Status | Login | Redirect | Mute)  # noqa: S101 - no others are of heads
    return fault.on in {"all", "stream" if is_stream else "rest"}


def _answer_of(fault: Status) -> Answer:
    if fault.body is None:
        plain = Answer.refusal(Refused(fault.status, "as ordered"))
    else:
        plain = Answer(fault.status, fault.body.encode(), fault.content_type)
    return plain._replace(headers=[*fault.headers.items(), *_retry_after(fault)])


def _retry_after(fault: Status) -> list[tuple[str, str]]:
    if fault.retry_after is None:
        return []
    if fault.retry_after_form == "date":
        return [("Retry-After", formatdate(unix_ms() / 1000 + fault.retry_after, usegmt=True))]
    return [("Retry-After", f"{fault.retry_after:g}")]
