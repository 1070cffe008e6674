"""One server of the settings as the daemon uses it: its addresses, its rules and whether it answers."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import quote

from structlog.stdlib import get_logger

from bridge import __version__
from bridge.clock import Backoff, monotonic
from bridge.core.durations import RECONNECT_BOUNDS, Histogram
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.rules import SchemaIds
from bridge.core.records.topics import SizeLimits
from bridge.core.stream.continuity import Continuity
from bridge.core.stream.event import Event
from bridge.core.stream.facts import Policy
from bridge.core.stream.ids import FirstId, StartId
from bridge.daemon.address_watch import AddressWatch, watched_host
from bridge.daemon.gone_sessions import GoneSessions
from bridge.daemon.rate_limit import ConnectionRate
from bridge.http.transport import Transport
from bridge.mix.rules import rules_of
from bridge.mix.sessions import SessionsApi
from bridge.settings import ServerSettings, Settings
from bridge.settings.tls import client_context
from bridge.sse.connection import Endpoint

log = get_logger("bridge.source")

_LEAST_BLOCK_LIMIT = 1024 * 1024
"""Bytes. A reader accepts blocks a little larger than what may be published: the rules decide about them, not it."""


class Source:
    """What all sessions of one server share.

    Thread rule: any thread. Only ``has_answered``, ``answers``, ``failure``, ``held_token`` and what ``follow``
    replaces change, each as a whole.
    """

    def __init__(self, name: str, settings: Settings, schema_ids: SchemaIds = MappingProxyType({})) -> None:
        """Raises ``SettingsError`` when a TLS file cannot be used."""
        server = settings.servers[name]
        self.name = name
        self.settings: ServerSettings = server
        self.rules = rules_of(name, settings, schema_ids)
        self.sizes = SizeLimits()
        """What the topics accept, once they are described."""
        self._guarantee = settings.delivery.guarantee
        self.backoff = Backoff(server.reconnect_min, server.reconnect_max)
        self.connection_rate = ConnectionRate()
        self.reconnect_duration = Histogram(RECONNECT_BOUNDS)
        """From the loss of a session's stream to the next answer with one."""
        self.list_wanted = threading.Event()
        """Set when an event announces a new or deleted session: discovery polls at once."""
        self.has_answered = False
        """Whether the server has answered anything since the start; never cleared."""
        self.answers = False
        self.start_id = StartId()
        """Whether an event of any session has the id to start after."""
        self._logged_first = FirstId.UNKNOWN
        self.address_watch = AddressWatch(watched_host(server))
        self.gone_sessions = GoneSessions(server.gone_after, discovers=server.discover)
        self.readers_take_part = False
        """Whether a session has shown that this is a Mix server without ids, whose readers take part in runs."""
        self.failure: str | None = None
        self._url = server.url.get_secret_value().rstrip("/")
        self.tls = tls_context(name, server)
        self._transport = Transport(
            server.connect_timeout,
            server.read_timeout,
            server.proxy.get_secret_value() if server.proxy else None,
            self.tls,
        )
        self.endpoint = Endpoint(
            self._transport, self.headers, max(_LEAST_BLOCK_LIMIT, 2 * settings.events.max_bytes), server.cookies
        )
        self.credentials_changed_at: float | None = None
        """When the token or the headers were last changed, by ``clock.monotonic``: streams reconnect with the new."""
        self.held_token: str | None = None
        """Sent instead of what the token file contains now: that belongs to a url that waits for a restart."""
        self._last_token: str | None = None
        self._remember_token()

    def follow(self, server: ServerSettings, tls: ssl.SSLContext | None, *, has_new_credentials: bool) -> None:
        """Use other credentials and certificates from the next connection on; all other settings are the same."""
        self.settings, self.tls = server, tls
        self._transport = replace(self._transport, tls=tls)
        self.endpoint = replace(self.endpoint, transport=self._transport)
        if has_new_credentials:
            self._remember_token()
            self.credentials_changed_at = monotonic()

    @property
    def fingerprint(self) -> str:
        """Of all that decides which record an event becomes, the topics' limits as they are now included."""
        return self.rules.fingerprint(self._guarantee, self.sizes)

    def record_request(self, *, answered: bool, failure: str | None = None) -> None:
        self.answers, self.failure = answered, failure
        self.has_answered = self.has_answered or answered

    def headers(self) -> Mapping[str, str]:
        """The request headers; a token file is read each time. Raises ``OSError`` when it never could be read."""
        headers = {"user-agent": f"mix-bridge/{__version__}"}
        headers |= {name: value.get_secret_value() for name, value in self.settings.headers.items()}
        token = self._bearer()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _remember_token(self) -> None:
        """Read the token while its file can be read: it is checked just now."""
        with suppress(OSError):
            self._last_token = self.settings.bearer()

    def _bearer(self) -> str | None:
        """The token; while its file cannot be read, the last one. The look at all files reports that."""
        if self.held_token is not None:
            return self.held_token
        try:
            self._last_token = self.settings.bearer()
        except OSError:
            if self._last_token is None:
                raise
        return self._last_token

    def stream_url(self, session_id: str) -> str:
        """The URL of a session's stream; the id is percent-encoded."""
        return self._url + self.settings.stream_path.replace("{session}", quote(session_id, safe=""))

    def continuity(self, restored: Checkpoint | None) -> Continuity:
        server = self.settings
        policy = Policy(
            server.start_after_id,
            overlap=server.overlap,
            accepts_no_ids=server.without_ids == "accept",
            connection_events=self.rules.connection_events,
            ids_not_required=self.rules.skip,
            readers_take_part=server.event_schema == "mix",
            start_id=self.start_id,
            replay_timeout=server.replay_timeout,
        )
        return Continuity(
            policy,
            has_ids=restored is not None and restored.position.last_event_id not in ("", server.start_after_id),
            # At the very start the process may have died before the announcement was acknowledged: announce it again.
            is_new=restored is None or (restored.position.sequence == 0 and restored.overlap_window.is_new),
        )

    def end_in(self, events: Sequence[Event]) -> int | None:
        """The index of the first event after which a session is over, by its name or its data."""
        ending = self.settings.end_after
        if ending is None:
            return None
        return next((at for at, each in enumerate(events) if ending in {each.name, each.data.strip()}), None)

    def warn_of_taking_part(self) -> None:
        if not self.readers_take_part:
            self.readers_take_part = True
            log.warning(
                "this Mix server sends no ids: a reader takes part in the runs of its sessions, and each reconnect can"
                " lose events or cancel a run. Connect no other reader or UI; set max_connection_age to 9m",
                server=self.name,
            )

    def record_start_id(self) -> None:
        """An event has the id to start after: sessions that are attached later may lack theirs."""
        self.start_id.record(FirstId.IS_ZERO)
        self.report_first_id()

    def report_first_id(self) -> None:
        """Log once what became known about the server's first id."""
        first = self.start_id.first
        if first is self._logged_first:
            return
        self._logged_first = first
        start = self.settings.start_after_id
        if first is FirstId.IS_ZERO:
            log.warning(
                "this server gives the id in start_after_id to an event: a session that is attached later may lack"
                " that event. Set start_after_id to an id below the first one, for example -1",
                server=self.name, start_after_id=start,
            )  # fmt: skip
        elif first is FirstId.IS_REPLAYED:
            log.info(
                "this server gives the id 0 to an event: new sessions are requested after -1 from now on",
                server=self.name, start_after_id=start,
            )  # fmt: skip
        elif first is FirstId.HIDDEN:
            log.warning(
                "this server does not answer a request after the id -1: if it gives the id 0 to an event, a session"
                " that is attached after its first event lacks that event",
                server=self.name, start_after_id=start,
            )  # fmt: skip

    def means_no_session(self, events: Sequence[Event]) -> bool:
        """Whether these events, as the whole answer, are how old Mix servers report an unknown session."""
        return self.settings.event_schema == "mix" and [(event.name, event.id) for event in events] == [("error", None)]

    def api(self, report: Callable[[str], None]) -> SessionsApi:
        """The server's REST API; ``report`` is called with entries of a list that were skipped."""
        return SessionsApi(self._url, self.headers, self.api_transport, report)

    @property
    def api_transport(self) -> Transport:
        return replace(self._transport, read_timeout=6 * self._transport.connect_timeout)


def tls_context(name: str, server: ServerSettings) -> ssl.SSLContext | None:
    """The TLS context of a server; None for plain HTTP. Raises ``SettingsError`` when a TLS file cannot be used."""
    if server.url.scheme != "https":
        return None
    files = (server.ca_file, server.client_cert_file, server.client_key_file)
    ca_file, cert_file, key_file = (None if path is None else str(path) for path in files)
    return client_context(ca_file, cert_file, key_file, key_prefix=f"servers.{name}.")
