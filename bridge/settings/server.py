"""The settings of one server. Durations are float seconds, lists are tuples, secrets are ``SecretStr`` or `Address`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bridge.settings import checks
from bridge.settings.values import (
    DURATION,
    LOWER,
    NOT_EMPTY,
    TEXT,
    WHOLE,
    Allowed,
    AnyDuration,
    BearerToken,
    FilePath,
    Flag,
    Group,
    HeaderValue,
    OrNone,
    ProxyUrl,
    Texts,
    Url,
    each,
    read_secret,
)

EventSchema = Literal["mix", "none"]
WithoutIds = Literal["refuse", "accept"]


class ServerSettings(Group):
    """One server that streams events."""

    url: Url = Field(examples=["http://localhost:8088"])
    """URL of a Mix agent server; `run` and `check` require at least one server."""
    sessions: Annotated[
        Texts, each(checks.session_id), Allowed("a list (JSON or commas) of session ids, none twice")
    ] = Field((), examples=["8d0f3c,5b1e77"])
    """Ids of sessions that are always bridged."""
    discover: Flag = True
    """Poll `GET /api/sessions` and bridge the sessions in its answer."""
    discover_interval: AnyDuration = 10.0
    """Time between two polls."""
    include_subagents: Flag = False
    """Also bridge sessions of type `subagent`."""
    created_within: OrNone[Annotated[float, Field(ge=0.001, le=315_360_000), DURATION]] = Field(None, examples=["24h"])
    """Discover only sessions that are younger than this."""
    max_sessions: Annotated[int, Field(ge=1, le=100_000), WHOLE] = 5000
    """Maximum number of sessions; further sessions are not bridged, but logged and counted."""
    idle_after: OrNone[Annotated[float, Field(ge=0.001, le=315_360_000), DURATION]] = Field(None, examples=["6h"])
    """With more than `max_sessions` sessions, those without an event for this long are stopped for newer ones. They
    come back when the server's list shows a change, or when a place is free."""
    forget_after: OrNone[Annotated[float, Field(ge=0.001, le=315_360_000), DURATION]] = 30 * 86_400.0
    """Checkpoints of ended sessions are removed after this time, if the session is neither configured nor listed any
    more. The highest epoch is remembered: a session that comes back starts above it. `none`: never."""
    headers: dict[str, HeaderValue] = Field({}, examples=[{"x-api-key": "change-me"}])
    """Additional request headers."""
    proxy: OrNone[ProxyUrl] = Field(None, examples=["http://proxy.example.org:3128"])
    """HTTP proxy; the proxy variables of the environment and netrc are not read."""
    cookies: Flag = True
    """Keep the cookies of a session's answers, per origin, and send them on reconnect (load balancers with sticky
    sessions)."""
    token: BearerToken | None = Field(None, examples=["change-me"])
    """Bearer token."""
    token_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/server-token"])
    """File with the bearer token, read again at every connect."""
    ca_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/server-ca.pem"])
    """Trusted certificate authorities (PEM) for the server's certificate, instead of the system's."""
    client_cert_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/client.pem"])
    """Client certificate (PEM); may contain the private key, if `client_key_file` is not set."""
    client_key_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/client-key.pem"])
    """Private key of the client certificate (PEM, without a password)."""
    stream_path: Annotated[
        str,
        TEXT,
        NOT_EMPTY,
        AfterValidator(checks.stream_path),
        Allowed("a path that begins with / and has {session} once (or not at all, for one session without discovery)"),
    ] = "/stream?sessionId={session}"
    """Path of a session's stream; the id is percent-encoded. With this key and `event_schema`, any SSE server can be a
    source."""
    event_schema: Annotated[EventSchema, LOWER] = "mix"
    """`none`: events are not validated, every event type counts as known."""
    start_after_id: Annotated[
        str,
        TEXT,
        AfterValidator(checks.event_id),
        Allowed("an event id without control characters, or empty"),
    ] = Field("0", examples=["earliest"])
    """Sent as `Last-Event-ID` for a session without a checkpoint, so that no event before its discovery is missed. The
    default is `0` with `event_schema=mix` and empty for other servers. Empty: no header, only events from now on.
    Servers with opaque ids need their own value (Mercure: `earliest`)."""
    overlap: Flag = True
    """Resume from the id before the last one, so that the server's replay begins with a known event; `false`: resume
    with plain `Last-Event-ID`."""
    replay_timeout: Annotated[float, Field(ge=0.001, le=120), DURATION] = 10.0
    """How long the first known event of a replay may take; doubled after each timeout, up to 2 minutes."""
    gone_after: Annotated[float, Field(ge=0, le=604_800), DURATION] = 30.0
    """How long, and at least three times, 404 or 204 must be the answer before a session ends (the server's list, where
    there is one, must lack it too), and another 4xx that refuses an id before the position is given up."""
    without_ids: Annotated[WithoutIds, LOWER] = "refuse"
    """A server that sends events without ids cannot be resumed. `refuse`: the session is stopped with an error, on a
    Mix server already at a `connected` without id and until restart or reload; other servers are tried again at growing
    intervals. `accept`: continue and report `unresumable` at each reconnect. Events listed in `events.skip` do not
    count."""
    max_connection_age: OrNone[Annotated[float, Field(ge=0.001, le=604_800), DURATION]] = Field(None, examples=["9m"])
    """Reconnect before a server or proxy cuts a connection of this age; without ids in a quiet moment of the last
    tenth."""
    end_after: OrNone[
        Annotated[str, TEXT, AfterValidator(checks.event_id), Allowed("an SSE event name or the data of an event")]
    ] = Field(None, examples=["[DONE]"])
    """An SSE event name or a text of data (`[DONE]`) after which a session is over."""
    connect_timeout: Annotated[float, Field(ge=0.001, le=600), DURATION] = 5.0
    """Maximum time to open a connection."""
    read_timeout: AnyDuration = 150.0
    """A connection without any byte for this long is dead (more than three heartbeats of 45 s)."""
    reconnect_min: Annotated[
        float, Field(ge=0, le=86_400), AfterValidator(lambda seconds: max(seconds, 0.001)), DURATION
    ] = 0.5
    """Minimum of the back-off before a reconnect; less than `1ms` counts as `1ms`, because the delay is doubled after
    each failure."""
    reconnect_max: AnyDuration = 60.0
    """Maximum of the back-off before a reconnect."""

    def bearer(self) -> str | None:
        """The bearer token: ``token_file``, read at each call (OSError when it cannot be read), or ``token``."""
        if self.token_file is not None:
            return read_secret(self.token_file)
        return None if self.token is None else self.token.get_secret_value()


def name_the_sessions(server: str) -> str:
    """What to do where a server does not list its sessions."""
    return f"this server does not list sessions: name them (`--session ID`, `servers.{server}.sessions`)"
