"""One server of the settings, as the daemon uses it: its addresses, its rules, what is known of its health."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from structlog.stdlib import get_logger

from bridge import __version__
from bridge.clock import Backoff, monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.rules import Encoder
from bridge.core.stream.continuity import Continuity
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.daemon.rate_limit import RateLimit
from bridge.http.transport import Transport
from bridge.mix.rules import rules_of
from bridge.mix.sessions import SessionsApi
from bridge.settings import ServerSettings, Settings
from bridge.settings.tls import client_context
from bridge.sse.connection import Connector, Endpoint

log = get_logger("bridge.source")

_LEAST_BLOCK = 1024 * 1024
"""A reader keeps blocks a little larger than what may be published, so that the rules, not the reader, judge them."""


class Source:
    """What all sessions of one server share.

    Thread rule: any thread. Frozen but for ``reached`` and ``answers``, flags that are set by ``noted``, and the turns
    to connect, under a lock of their own.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        """Raises ``SettingsError`` when a TLS file cannot be used."""
        server = settings.servers[name]
        self.name = name
        self.settings: ServerSettings = server
        self.rules = rules_of(name, settings)
        self.fingerprint = self.rules.fingerprint()
        self.backoff = Backoff(server.reconnect_min, server.reconnect_max)
        self.reached = False
        """Whether the server has answered anything at all since the start; never cleared."""
        self.answers = False
        """Whether the last request to it was answered."""
        self._pace = RateLimit()
        self._pacing = threading.Lock()
        self._url = server.url.get_secret_value().rstrip("/")
        self.tls = tls_context(name, server)
        self._transport = Transport(
            server.connect_timeout,
            server.read_timeout,
            server.proxy.get_secret_value() if server.proxy else None,
            self.tls,
        )
        self._endpoint = Endpoint(self._transport, self.headers, max(_LEAST_BLOCK, 2 * settings.events.max_bytes))

    def noted(self, *, answered: bool) -> None:
        """A request was answered, or was not."""
        self.answers = answered
        if answered:
            self.reached = True

    def places(self, within: float) -> int:
        """How many sessions could connect within so many seconds (see ``rate_limit``)."""
        with self._pacing:
            return self._pace.places(monotonic(), within)

    def await_turn(self, stopped: threading.Event) -> bool:
        """Wait for a turn to connect to the server (see ``rate_limit``); False once ``stopped``."""
        with self._pacing:
            seconds, self._pace = self._pace.turn(monotonic())
        if not stopped.wait(seconds):
            return True
        with self._pacing:
            self._pace = self._pace.given_back()
        return False

    def headers(self) -> Mapping[str, str]:
        """The request headers of this moment: a token file is read again. Raises ``OSError`` when it cannot be."""
        headers = {"user-agent": f"mix-bridge/{__version__}"}
        headers |= {name: value.get_secret_value() for name, value in self.settings.headers.items()}
        token = self.settings.bearer()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def stream_url(self, session_id: str) -> str:
        """Where a session's stream is; the id is percent-encoded."""
        return self._url + self.settings.stream_path.replace("{session}", quote(session_id, safe=""))

    def connector(self) -> Connector:
        """A connector for one session's worker."""
        return Connector(self._endpoint)

    def encoder(self, key: SessionKey) -> Encoder:
        """The encoder of one session's records."""
        return Encoder(self.rules, key)

    def continuity(self, restored: Checkpoint | None) -> Continuity:
        """What decides for one session's worker whether its stream goes on where it stopped."""
        server, start = self.settings, self.settings.start_after_id
        return Continuity(
            start,
            overlap=server.overlap,
            accepts_no_ids=server.without_ids == "accept",
            has_ids=restored is not None and restored.position.last_event_id not in ("", start),
            # At the very start the announcement may not have got through before the process died: it comes again.
            is_new=restored is None
            or (restored.position.sequence == 0 and restored.overlap_window == OverlapWindow.starting(start)),
        )

    def is_refusal(self, events: Sequence[Event]) -> bool:
        """Whether this, as the whole answer, is how Mix servers of old say that they have no such session."""
        return self.settings.event_schema == "mix" and [(event.name, event.id) for event in events] == [("error", None)]

    def api(self, report: Callable[[str], None]) -> SessionsApi:
        """The server's REST side; ``report`` is told of entries of a list that had to be skipped."""
        transport = replace(self._transport, read_timeout=6 * self._transport.connect_timeout)
        return SessionsApi(self._url, self.headers, transport, report)


def tls_context(name: str, server: ServerSettings) -> ssl.SSLContext | None:
    """The one context of a server; None over plain HTTP. Raises ``SettingsError`` when a TLS file cannot be used."""
    if server.url.scheme != "https":
        return None
    files = (server.ca_file, server.client_cert_file, server.client_key_file)
    ca_file, cert_file, key_file = (None if path is None else str(path) for path in files)
    return client_context(ca_file, cert_file, key_file, key_prefix=f"servers.{name}.")
