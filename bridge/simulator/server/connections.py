"""Serves the simulated server's connections, and applies the faults of response heads."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email.utils import formatdate

import h11

from bridge.clock import unix_ms
from bridge.simulator.encoding import EVENT_STREAM_TYPE, event_block
from bridge.simulator.faults.kinds import Frame, HeadFault, Mute, Redirect, Status
from bridge.simulator.faults.registry import FaultRecord, FaultRegistry
from bridge.simulator.server.body_writer import BodyWriter
from bridge.simulator.server.contract_api import ContractApi
from bridge.simulator.server.control import Control, RequestLog
from bridge.simulator.server.http_server import HttpConnection, Refused, Request, Response
from bridge.simulator.server.session_table import UnknownSession
from bridge.simulator.server.snapshot_api import SnapshotApi

_LOGIN_PAGE = b"<!DOCTYPE html>\n<title>Log in</title>\n<form method=post><input name=user></form>\n"
_EVENT_ELSEWHERE = event_block("content", b'{"type":"content","content":"from another host"}', "999999")
_NAME_ELSEWHERE = "localhost"
"""Differs from the name in the server's own address, so that a client that compares hosts sees another one."""


class Connections:
    """Reads requests, has them answered, and ends what is open."""

    def __init__(
        self, api: ContractApi | SnapshotApi, control: Control, registry: FaultRegistry, log: RequestLog
    ) -> None:
        self._api = api
        self._control = control
        self._registry = registry
        self._log = log
        self._elsewhere: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._unanswered: dict[asyncio.Task[None], FaultRecord[HeadFault]] = {}
        registry.watch(self._release_unanswered)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._open.add(task)
        connection = HttpConnection(reader, writer)
        try:
            try:
                await self._serve_requests(connection, task)
            except h11.RemoteProtocolError as failure:
                await connection.refuse(failure)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()  # the client has gone, or the server stops
        finally:
            self._open.discard(task)
            writer.close()

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - then the connections are cut
        """Wait up to ``timeout`` seconds until streams have sent what is left, then cut the others."""
        if self._elsewhere is not None:
            self._elsewhere.close()
        for task in self._idle:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=timeout)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve_requests(self, connection: HttpConnection, task: asyncio.Task[None]) -> None:
        while (request := await self._next_request(connection, task)) is not None:
            if request.path.startswith("/control/"):
                await connection.send(await self._control.answer(request))
            elif not await self._serve_client(connection, request):
                return

    async def _next_request(self, connection: HttpConnection, task: asyncio.Task[None]) -> Request | None:
        self._idle.add(task)
        try:
            return await connection.next_request()
        finally:
            self._idle.discard(task)

    async def _serve_client(self, connection: HttpConnection, request: Request) -> bool:
        """Serve one request outside the control API. Return whether the connection stays open."""
        self._log.add(request)
        is_stream = self._api.is_stream(request)
        affected = {"all", "stream" if is_stream else "rest"}
        session = request.query.get("sessionId")
        record = self._registry.hit(HeadFault, session, lambda record: record.fault.on in affected)
        if record is not None and isinstance(record.fault, Mute):
            await self._leave_unanswered(connection, record)
            return False
        if record is not None:
            await connection.send(await self._faulty_response(record, request))
        elif is_stream:
            return not await self._serve_stream(connection, request)
        else:
            await connection.send(await self._api.answer(request))
        return True

    async def _serve_stream(self, connection: HttpConnection, request: Request) -> bool:
        """Serve a stream to its end. False: it was refused, and the connection stays open."""
        body = BodyWriter(connection.writer, self._frame(request))
        try:
            stream = self._api.stream(request, body)
        except (Refused, UnknownSession) as failure:
            await connection.send(Response.of_failure(failure))
            return False
        connection.begin_stream([*body.headers(), ("Cache-Control", "no-cache")])
        client_left = _watch_client(connection.reader)
        client_left.add_done_callback(lambda task: None if task.cancelled() else stream.reader.end())
        try:
            with self._log.open_stream(request):
                await stream.run()
        finally:
            client_left.cancel()
        return True

    def _frame(self, request: Request) -> Frame:
        if (record := self._registry.hit(Frame, request.query.get("sessionId"))) is not None:
            return record.fault
        return Frame(framing="close" if request.http_version == "1.0" else "chunked")

    async def _faulty_response(self, record: FaultRecord[HeadFault], request: Request) -> Response:
        fault = record.fault
        if isinstance(fault, Redirect):
            to = fault.to or await self._address_elsewhere() + request.target
            return Response(fault.status, headers=[("Location", to)])
        if isinstance(fault, Status):
            return _status_response(fault)
        return Response(200, _LOGIN_PAGE, "text/html; charset=utf-8")

    async def _address_elsewhere(self) -> str:
        """Return the URL, without a path, of the host that redirects lead to. It listens from the first call on."""
        if self._elsewhere is None:
            self._elsewhere = await asyncio.start_server(self._serve_elsewhere, "127.0.0.1", 0)
        return f"http://{_NAME_ELSEWHERE}:{self._elsewhere.sockets[0].getsockname()[1]}"

    async def _serve_elsewhere(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer any request with an event, and log its headers."""
        connection = HttpConnection(reader, writer)
        try:
            if (request := await connection.next_request()) is not None:
                self._log.add(request, "elsewhere")
                await connection.send(Response(200, _EVENT_ELSEWHERE, EVENT_STREAM_TYPE, [("Connection", "close")]))
        except (OSError, h11.RemoteProtocolError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _leave_unanswered(self, connection: HttpConnection, record: FaultRecord[HeadFault]) -> None:
        client_left = _watch_client(connection.reader)
        self._unanswered[client_left] = record
        try:
            await asyncio.wait([client_left])
        finally:
            client_left.cancel()
            del self._unanswered[client_left]

    def _release_unanswered(self) -> None:
        for client_left, record in self._unanswered.items():
            if record.is_over:
                client_left.cancel()


def _watch_client(reader: asyncio.StreamReader) -> asyncio.Task[None]:
    """Return a task that ends when the client closes. What a client sends on an open stream is ignored."""

    async def read_to_end() -> None:
        with suppress(OSError):
            while await reader.read(4096):
                pass

    return asyncio.get_running_loop().create_task(read_to_end())


def _status_response(fault: Status) -> Response:
    if fault.body is None:
        response = Response.error(fault.status, "as requested by a fault")
    else:
        response = Response(fault.status, fault.body.encode(), fault.content_type)
    return response._replace(headers=[*fault.headers.items(), *_retry_after(fault)])


def _retry_after(fault: Status) -> list[tuple[str, str]]:
    if fault.retry_after is None:
        return []
    if fault.retry_after_form == "date":
        return [("Retry-After", formatdate(unix_ms() / 1000 + fault.retry_after, usegmt=True))]
    return [("Retry-After", f"{fault.retry_after:g}")]
