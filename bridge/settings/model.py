"""The settings: one frozen tree. Every option is spelled here once; sources, reference, examples and schema follow it.

Durations are float seconds, sizes are int bytes, lists are tuples, secrets are ``SecretStr`` or `Address`.
A value of any thread. Made by `bridge.settings.load`, not by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.settings import checks
from bridge.settings.addresses import Address
from bridge.settings.kinds import (
    Choice,
    Duration,
    File,
    Flag,
    Hidden,
    Joined,
    Later,
    Number,
    Rows,
    Size,
    Text,
    Texts,
    Web,
)

_TOPIC = Text(what="1 to 249 of the characters a-z A-Z 0-9 . _ -", check=checks.topic)
_TOKEN = Hidden(what="visible ASCII characters without blanks", check=checks.token)
_PASSWORD = Hidden(what="a text without control characters", check=checks.any_text)
_FILE = File()
_FLAG = Flag()


class Group(BaseModel):
    """A group of settings; unknown keys are refused and no error quotes what was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(Group):
    """One server that streams events."""

    url: Annotated[Address, Web()] = Field(description="a Mix agent server; `run` and `check` want at least one")
    sessions: Annotated[tuple[str, ...], Texts(what="session ids", check=checks.session_id)] = Field(
        (), description="session ids to bridge, always"
    )
    discover: Annotated[bool, _FLAG] = Field(True, description="poll `GET /api/sessions` and bridge what it lists")
    discover_interval: Annotated[float, Duration(low="100ms")] = Field(10.0, description="time between two polls")
    include_subagents: Annotated[bool, _FLAG] = Field(False, description="also bridge sessions of type `subagent`")
    created_within: Annotated[float | None, Duration(optional=True, high="87600h")] = Field(
        None, description="discover only sessions younger than this"
    )
    max_sessions: Annotated[int, Number(low=1, high=100_000)] = Field(
        5000, description="more are not bridged: reported loudly, never silently"
    )
    headers: dict[
        str, Annotated[SecretStr, Hidden(what="printable ASCII", check=checks.header_value, empty=True)]
    ] = Field({}, description="extra request headers")
    proxy: Annotated[Address | None, Web(optional=True, path=False)] = Field(
        None, description="HTTP proxy; the environment's proxy variables and netrc are not read"
    )
    token: Annotated[SecretStr | None, _TOKEN] = Field(None, description="bearer token")
    token_file: Annotated[Path | None, _FILE] = Field(
        None, description="file with the bearer token, read again at every connect"
    )
    ca_file: Annotated[Path | None, _FILE] = Field(
        None, description="certificates (PEM) that the server's must be signed by, instead of the system's"
    )
    client_cert_file: Annotated[Path | None, _FILE] = Field(
        None, description="certificate (PEM) the bridge shows to the server"
    )
    client_key_file: Annotated[Path | None, _FILE] = Field(
        None, description="its private key (PEM, without a password)"
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
    event_schema: Annotated[Literal["mix", "none"], Choice(words=("mix", "none"))] = Field(
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
    overlap: Annotated[bool, Flag(later=True)] = Field(
        False, description="`false`: resume by plain `Last-Event-ID`; `true` is not in this version"
    )
    gone_after: Annotated[float, Duration(low="0s", high="168h")] = Field(
        30.0, description="a 404 or 204 for a session that stays this long (three tries at least) ends it"
    )
    without_ids: Annotated[Literal["refuse", "accept"], Choice(words=("refuse", "accept"))] = Field(
        "refuse",
        description="a server that sends events without ids cannot be resumed: `refuse` stops the session at the first"
        " such event with an error that says so, `accept` goes on and says `unresumable` at each reconnect",
    )
    max_connection_age: Annotated[float | None, Duration(optional=True, low="1s", high="168h")] = Field(
        None, description="reconnect in good time where a server or proxy cuts long connections"
    )
    connect_timeout: Annotated[float, Duration(high="10m")] = Field(5.0, description="longest wait for a connection")
    read_timeout: Annotated[float, Duration()] = Field(
        150.0, description="no byte for this long: the connection is dead (over three 45 s heartbeats)"
    )
    reconnect_min: Annotated[float, Duration()] = Field(0.5, description="lower bound of the back-off")
    reconnect_max: Annotated[float, Duration()] = Field(60.0, description="upper bound of the back-off")

    def bearer(self) -> str | None:
        """The bearer token, from ``token_file`` read at this moment or from ``token``. OSError when it cannot be read."""
        from bridge.settings.secret_files import read_secret  # noqa: PLC0415 - no import cycle at class creation

        if self.token_file is not None:
            return read_secret(self.token_file)
        return None if self.token is None else self.token.get_secret_value()


class KafkaSettings(Group):
    """How to reach Kafka."""

    bootstrap_servers: Annotated[str, Joined(what="host:port", check=checks.broker)] = Field(
        "", description="brokers to begin with; `run` and `check` want it"
    )
    security_protocol: Annotated[
        Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] | None,
        Choice(words=("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")),
    ] = Field(None, description="the client's default is plaintext")
    sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None,
        Choice(words=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI")),
    ] = Field(None, description="SASL settings want a SASL protocol")
    sasl_username: Annotated[str | None, Text(what="a text without control characters", check=checks.any_text)] = Field(
        None, description="SASL user"
    )
    sasl_password: Annotated[SecretStr | None, _PASSWORD] = Field(None, description="SASL password")
    sasl_password_file: Annotated[Path | None, _FILE] = Field(None, description="file with the SASL password")
    ssl_ca_file: Annotated[Path | None, _FILE] = Field(
        None, description="certificates (PEM) that the brokers' must be signed by, instead of the system's"
    )
    ssl_cert_file: Annotated[Path | None, _FILE] = Field(None, description="the client's certificate (PEM)")
    ssl_key_file: Annotated[Path | None, _FILE] = Field(None, description="its private key (PEM)")
    ssl_key_password: Annotated[SecretStr | None, _PASSWORD] = Field(None, description="password of the private key")
    ssl_key_password_file: Annotated[Path | None, _FILE] = Field(
        None, description="file with the password of the private key"
    )
    compression: Annotated[
        Literal["none", "gzip", "snappy", "lz4", "zstd"], Choice(words=("none", "gzip", "snappy", "lz4", "zstd"))
    ] = Field("lz4", description="of record batches")
    group_session_timeout: Annotated[None, Later()] = Field(
        None, description="a replica silent for this long has lost its shards"
    )
    properties: dict[
        str, Annotated[SecretStr, Hidden(what="a text without control characters", check=checks.any_text, empty=True)]
    ] = Field(
        {},
        description="librdkafka properties passed to every client as they are; a name that would break delivery (acks,"
        " idempotence, transactional.id, partitioner, message.timeout.ms, enable.auto.commit, group.*, ...) is refused",
    )


class Route(Group):
    """Events whose name matches go to a topic of their own."""

    match: Annotated[str, Text(what="a pattern of SSE event names such as tool_*", check=checks.pattern)]
    topic: Annotated[str, _TOPIC]
    server: Annotated[str | None, Text(what="the name of a server", check=checks.server_name)] = None


class TopicSettings(Group):
    """Topics: their names and how missing ones are created."""

    events: Annotated[str, _TOPIC] = Field("", description="`<namespace>.events`")
    dead_letters: Annotated[str, _TOPIC] = Field("", description="`<namespace>.dead-letters`")
    checkpoints: Annotated[str, _TOPIC] = Field("", description="`<namespace>.checkpoints`")
    lifecycle: Annotated[None, Later()] = Field(None, description="`<namespace>.lifecycle`")
    create: Annotated[bool, _FLAG] = Field(
        True, description="create missing topics; an existing one is checked, never altered"
    )
    partitions: Annotated[int, Number(low=1, high=10_000)] = Field(8, description="of topics that are created")
    replication_factor: Annotated[int | None, Number(optional=True, low=1, high=32_767)] = Field(
        None, description="of topics that are created; none: the broker's default"
    )
    shards: Annotated[int, Number(low=1, high=10_000)] = Field(
        8, description="partitions of the checkpoints topic: the most replicas that can share the work"
    )
    config: dict[str, Annotated[str, Text(what="a text", check=checks.config_value, empty=True)]] = Field(
        {},
        description="topic settings (retention, min.insync.replicas, ...) of created event, dead-letter and lifecycle"
        " topics",
    )
    routes: Annotated[
        tuple[Route, ...],
        Rows(what='a list of tables {match = "tool_*", topic = "mix.tools"}, with server = "name" to narrow one'),
    ] = Field(
        (),
        description="`match` is a pattern of SSE event names; the first match wins; `server` narrows it",
    )


class EventSettings(Group):
    """What becomes of an event."""

    format: Annotated[
        Literal["structured", "binary", "raw"],
        Choice(words=("structured", "binary", "raw")),
    ] = Field("structured", description="`structured` or `binary` CloudEvents, or `raw`")
    type_prefix: Annotated[str, Text(what="a text without control characters", check=checks.any_text, empty=True)] = (
        Field("mix.", description="of the CloudEvents type")
    )
    skip: Annotated[tuple[str, ...], Texts(what="event types", check=checks.any_text)] = Field(
        (), description="event types not published, beside `connected` and `heartbeat`, which never are"
    )
    unknown: Annotated[
        Literal["publish", "dead_letter", "skip"],
        Choice(words=("publish", "dead_letter", "skip")),
    ] = Field("publish", description="an event type without a schema")
    invalid: Annotated[
        Literal["dead_letter", "publish", "skip"],
        Choice(words=("dead_letter", "publish", "skip")),
    ] = Field("dead_letter", description="an event that fails its schema")
    max_bytes: Annotated[int, Size(low="512", high="100MiB")] = Field(
        900 * 1024, description="of the encoded value; larger goes to dead letters as a marker"
    )


class DeliverySettings(Group):
    """How records get to Kafka."""

    guarantee: Annotated[
        Literal["at_least_once"],
        Choice(words=("at_least_once",), later=("exactly_once",)),
    ] = Field("at_least_once", description="`exactly_once` is not in this version")
    checkpoint_interval: Annotated[float, Duration(low="10ms", high="1h")] = Field(
        1.0, description="at least once: longest time an acknowledged position stays unwritten"
    )
    transaction_interval: Annotated[None, Later()] = Field(
        None, description="exactly once: longest time a transaction stays open"
    )
    max_in_flight: Annotated[int, Number(low=1, high=10_000_000)] = Field(
        10_000, description="records per session not yet acknowledged; then the reader waits"
    )
    max_buffer_bytes: Annotated[int, Size(low="64KiB", high="1024GiB")] = Field(
        128 * 1024**2, description="bytes of all sessions not yet acknowledged; then readers wait"
    )
    drain_timeout: Annotated[float, Duration(low="0s", high="1h")] = Field(
        25.0, description="longest orderly stop; past it exit 75"
    )


class HttpSettings(Group):
    """The daemon's own HTTP endpoint."""

    host: Annotated[str, Text(what="a host name or an IP address", check=checks.host)] = Field(
        "127.0.0.1", description="health, metrics, status page listen here; the image sets it to `0.0.0.0`"
    )
    port: Annotated[int | None, Number(optional=True, low=0, high=65_535)] = Field(
        8090, description="`0` picks one (said in the log), `none` switches it off"
    )
    token: Annotated[SecretStr | None, _TOKEN] = Field(
        None,
        description="when set, everything but `/livez` and `/readyz` wants it, as bearer or as the password of HTTP"
        " Basic",
    )
    token_file: Annotated[Path | None, _FILE] = Field(None, description="file with that token")


class LogSettings(Group):
    """Logs, which go to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Choice(words=("debug", "info", "warning", "error")),
    ] = Field("info", description="the least level that is written")
    format: Annotated[Literal["console", "json"] | None, Choice(words=("console", "json"))] = Field(
        None, description="`console` on a terminal, else `json`"
    )


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)

    namespace: Annotated[
        str, Text(what="1 to 200 of the characters a-z A-Z 0-9 . _ -", check=checks.namespace)
    ] = Field(
        "mix",
        description="prefix of the default topic names, the consumer group (`<namespace>.bridge`) and the"
        " transactional ids. All replicas of a namespace name the same servers",
    )
    instance: Annotated[None, Later()] = Field(
        None, description="a stable name of this replica: a restart under it takes its shards back at once"
    )
    start_timeout: Annotated[float, Duration(low="0s", high="168h")] = Field(
        60.0, description="Kafka, or every server, out of reach for this long at start: exit 69; `0`: wait for ever"
    )
    servers: dict[str, ServerSettings] = Field({}, description="servers by name")
    kafka: KafkaSettings = Field(KafkaSettings(), description="Kafka")
    topics: TopicSettings = Field(TopicSettings(), description="topics")
    events: EventSettings = Field(EventSettings(), description="events")
    delivery: DeliverySettings = Field(DeliverySettings(), description="delivery")
    http: HttpSettings = Field(HttpSettings(), description="HTTP")
    log: LogSettings = Field(LogSettings(), description="logs")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The layers `load` has read, strongest first.

        The library's own readers are left out: they pass over a misspelt variable without a word.
        """
        kwargs: dict[str, object] = getattr(init_settings, "init_kwargs", {})
        layers = kwargs.get("layers", ())
        assert isinstance(layers, tuple)  # noqa: S101 - told to mypy; only `load` makes settings
        return layers
