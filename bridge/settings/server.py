"""The settings of one server. Durations are float seconds, lists are tuples, secrets are ``SecretStr`` or `Address`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from bridge.settings import checks
from bridge.settings.addresses import Address
from bridge.settings.kind import Group
from bridge.settings.kinds import Choice, Duration, File, Flag, Hidden, Number, Text, Web, read_secret
from bridge.settings.lists import Texts

EventSchema = Literal["mix", "none"]
WithoutIds = Literal["refuse", "accept"]

TOKEN = Hidden(what="visible ASCII characters without blanks", check=checks.token)
FILE = File()
FLAG = Flag()


class ServerSettings(Group):
    """One server that streams events."""

    url: Annotated[Address, Web()] = Field(
        description="a Mix agent server; `run` and `check` want at least one", examples=["http://localhost:8088"]
    )
    sessions: Annotated[tuple[str, ...], Texts(what="session ids", check=checks.session_id)] = Field(
        (), description="session ids to bridge, always", examples=["8d0f3c,5b1e77"]
    )
    discover: Annotated[bool, FLAG] = Field(
        default=True, description="poll `GET /api/sessions` and bridge what it lists"
    )
    discover_interval: Annotated[float, Duration()] = Field(10.0, description="time between two polls")
    include_subagents: Annotated[bool, FLAG] = Field(
        default=False, description="also bridge sessions of type `subagent`"
    )
    created_within: Annotated[float | None, Duration(optional=True, high="87600h")] = Field(
        None, description="discover only sessions younger than this", examples=["24h"]
    )
    max_sessions: Annotated[int, Number(low=1, high=100_000)] = Field(
        5000, description="more are not bridged: reported loudly, never silently"
    )
    headers: dict[str, Annotated[SecretStr, Hidden(what="printable ASCII", check=checks.header_value, empty=True)]] = (
        Field({}, description="extra request headers", examples=[{"x-api-key": "change-me"}])
    )
    proxy: Annotated[Address | None, Web(optional=True, path=False)] = Field(
        None,
        description="HTTP proxy; the environment's proxy variables and netrc are not read",
        examples=["http://proxy.example.org:3128"],
    )
    token: Annotated[SecretStr | None, TOKEN] = Field(None, description="bearer token", examples=["change-me"])
    token_file: Annotated[Path | None, FILE] = Field(
        None,
        description="file with the bearer token, read again at every connect",
        examples=["/etc/mix-bridge/server-token"],
    )
    ca_file: Annotated[Path | None, FILE] = Field(
        None,
        description="certificates (PEM) that the server's must be signed by, instead of the system's",
        examples=["/etc/mix-bridge/server-ca.pem"],
    )
    client_cert_file: Annotated[Path | None, FILE] = Field(
        None,
        description="certificate (PEM) the bridge shows to the server; its key too, unless the next key names that",
        examples=["/etc/mix-bridge/client.pem"],
    )
    client_key_file: Annotated[Path | None, FILE] = Field(
        None, description="its private key (PEM, without a password)", examples=["/etc/mix-bridge/client-key.pem"]
    )
    stream_path: Annotated[
        str,
        Text(
            what="a path that begins with / and has {session} once (or not at all, for one session without discovery)",
            check=checks.stream_path,
        ),
    ] = Field(
        "/stream?sessionId={session}",
        description="where a session's stream is (the id is percent-encoded); with it and the next key any SSE server"
        " is a source",
    )
    event_schema: Annotated[EventSchema, Choice.of(EventSchema)] = Field(
        "mix", description="`none`: events are not validated, every type is known"
    )
    start_after_id: Annotated[
        str,
        Text(what="an event id without control characters, or empty", check=checks.event_id, empty=True),
    ] = Field(
        "0",
        description="sent as `Last-Event-ID` for a session without a checkpoint, so that nothing before its discovery"
        " is missed: everything the server still has. Empty: no header, only what comes from now on",
    )
    overlap: Annotated[bool, FLAG] = Field(
        default=True,
        description="resume from the id before the last one, so that the replay proves itself; `false`: plain"
        " `Last-Event-ID`",
    )
    gone_after: Annotated[float, Duration(low="0s", high="168h")] = Field(
        30.0, description="a 404 or 204 for a session that stays this long (three tries at least) ends it"
    )
    without_ids: Annotated[WithoutIds, Choice.of(WithoutIds)] = Field(
        "refuse",
        description="a server that sends events without ids cannot be resumed: `refuse` stops the session at the first"
        " such event with an error that says so, `accept` goes on and says `unresumable` at each reconnect",
    )
    max_connection_age: Annotated[float | None, Duration(optional=True, high="168h")] = Field(
        None, description="reconnect in good time where a server or proxy cuts long connections", examples=["9m"]
    )
    connect_timeout: Annotated[float, Duration(high="10m")] = Field(5.0, description="longest wait for a connection")
    read_timeout: Annotated[float, Duration()] = Field(
        150.0, description="no byte for this long: the connection is dead (over three 45 s heartbeats)"
    )
    reconnect_min: Annotated[float, Duration(zero="1ms")] = Field(
        0.5, description="lower bound of the back-off; `0` is taken as `1ms`, since the wait doubles from here"
    )
    reconnect_max: Annotated[float, Duration()] = Field(60.0, description="upper bound of the back-off")

    def bearer(self) -> str | None:
        """The bearer token: from ``token_file``, read at this moment (OSError when it cannot be), or from ``token``."""
        if self.token_file is not None:
            return read_secret(self.token_file)
        return None if self.token is None else self.token.get_secret_value()
