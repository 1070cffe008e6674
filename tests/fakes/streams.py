"""Connects to the raw server like a session's worker, and collects the events."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import pytest
import trustme

from bridge.core.stream.event import Event
from bridge.http.transport import Transport
from bridge.sse.connection import Connector, Endpoint
from bridge.sse.event_stream import EventStream
from bridge.sse.reconnection import Disconnected, Outcome
from tests.fakes.pieces import each
from tests.support.waiting import SCALE

E1 = b"id: 1\ndata: one\n\n"
E2 = b"id: 2\ndata: two\n\n"
INCOMPLETE = b"id: 3\ndata: thr"


def endpoint(**changes: Any) -> Endpoint:
    """An endpoint with timeouts that are long for a test but end a test that hangs."""
    headers = changes.pop("headers", dict)
    return Endpoint(transport(**changes), headers, max_block_bytes=1024 * 1024)


def transport(**changes: Any) -> Transport:
    """A transport that trusts the tests' own authority."""
    values: dict[str, Any] = {"connect_timeout": 5.0 * SCALE, "read_timeout": 10.0 * SCALE, "tls": client_tls()}
    return Transport(**values | changes)


def sending(**headers: str) -> Callable[[], Mapping[str, str]]:
    """The headers of an endpoint; ``_`` in a name is ``-``."""
    return lambda: {name.replace("_", "-"): value for name, value in headers.items()}


@lru_cache(maxsize=1)
def authority() -> trustme.CA:
    return trustme.CA()


@lru_cache(maxsize=1)
def client_tls() -> ssl.SSLContext:
    """Trusts the tests' own authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def server_tls(*names: str) -> ssl.SSLContext:
    """A server's certificate, for 127.0.0.1 by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
    return context


def read_on(stream: EventStream) -> tuple[list[Event], Outcome]:
    """The events up to the end, and the end."""
    events = []
    try:
        for event in each(stream):
            events.append(event)  # noqa: PERF402 - the end comes as an exception, and what came before it counts
    except Disconnected as end:
        return events, end.outcome
    raise AssertionError("a stream ends only with Disconnected")


def read_all(url: str, last_event_id: str = "", **changes: Any) -> tuple[list[str], Outcome, EventStream]:
    """One connection from its request to its end: the data of its events, the end, and the stream."""
    stream = Connector(endpoint(**changes)).connect(url, last_event_id)
    events, outcome = read_on(stream)
    return [event.data for event in events], outcome, stream


def refused(url: str, last_event_id: str = "", **changes: Any) -> Outcome:
    """The outcome of a connection without a stream."""
    with pytest.raises(Disconnected) as end:
        Connector(endpoint(**changes)).connect(url, last_event_id)
    return end.value.outcome
