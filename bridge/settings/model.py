"""The settings: one frozen tree. Every option is spelled here once; sources, reference, examples and schema follow it.

Durations are float seconds, sizes are int bytes, lists are tuples, secrets are ``SecretStr`` or `Address`.
A value of any thread. Made by `bridge.settings.load`, not by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.settings import checks
from bridge.settings.kind import Group
from bridge.settings.kinds import (
    Choice,
    Duration,
    Hidden,
    Number,
    Size,
    Text,
)
from bridge.settings.lists import Joined, Rows, Texts
from bridge.settings.server import FILE, FLAG, TOKEN, ServerSettings

SecurityProtocol = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"]
Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]
EventFormat = Literal["structured", "binary", "raw"]
Fate = Literal["publish", "dead_letter", "skip"]
Guarantee = Literal["at_least_once", "exactly_once"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json"]

_TOPIC = Text(what="1 to 249 of the characters a-z A-Z 0-9 . _ -", check=checks.topic)
_PASSWORD = Hidden(what="a text without control characters", check=checks.any_text)


class KafkaSettings(Group):
    """How to reach Kafka."""

    bootstrap_servers: Annotated[str, Joined(what="host:port", check=checks.broker)] = Field(
        "", description="brokers to begin with; `run` and `check` want it", examples=["localhost:9092"]
    )
    security_protocol: Annotated[SecurityProtocol | None, Choice.of(SecurityProtocol)] = Field(
        None, description="the client's default is plaintext", examples=["sasl_ssl"]
    )
    sasl_mechanism: Annotated[SaslMechanism | None, Choice.of(SaslMechanism)] = Field(
        None, description="SASL settings want a SASL protocol", examples=["SCRAM-SHA-512"]
    )
    sasl_username: Annotated[str | None, Text(what="a text without control characters", check=checks.any_text)] = Field(
        None, description="SASL user", examples=["mix-bridge"]
    )
    sasl_password: Annotated[SecretStr | None, _PASSWORD] = Field(
        None, description="SASL password", examples=["change-me"]
    )
    sasl_password_file: Annotated[Path | None, FILE] = Field(
        None, description="file with the SASL password", examples=["/etc/mix-bridge/kafka-password"]
    )
    ssl_ca_file: Annotated[Path | None, FILE] = Field(
        None,
        description="certificates (PEM) that the brokers' must be signed by, instead of the system's",
        examples=["/etc/mix-bridge/kafka-ca.pem"],
    )
    ssl_cert_file: Annotated[Path | None, FILE] = Field(
        None, description="the client's certificate (PEM)", examples=["/etc/mix-bridge/kafka.pem"]
    )
    ssl_key_file: Annotated[Path | None, FILE] = Field(
        None, description="its private key (PEM)", examples=["/etc/mix-bridge/kafka-key.pem"]
    )
    ssl_key_password: Annotated[SecretStr | None, _PASSWORD] = Field(
        None, description="password of the private key", examples=["change-me"]
    )
    ssl_key_password_file: Annotated[Path | None, FILE] = Field(
        None, description="file with the password of the private key", examples=["/etc/mix-bridge/kafka-key-password"]
    )
    compression: Annotated[Compression, Choice.of(Compression)] = Field("lz4", description="of record batches")
    group_session_timeout: Annotated[float, Duration(low="6s", high="30m")] = Field(
        10.0,
        description="a replica silent for this long has lost its shards. The brokers have bounds of their own"
        " (`group.min.session.timeout.ms`, 6 s by default, and `group.max.session.timeout.ms`)",
    )
    properties: dict[
        str, Annotated[SecretStr, Hidden(what="a text without control characters", check=checks.any_text, empty=True)]
    ] = Field(
        {},
        description="librdkafka properties passed to every client as they are; a name that would break delivery (acks,"
        " idempotence, transactional.id, partitioner, message.timeout.ms, enable.auto.commit, group.*, ...) is refused",
        examples=[{"socket.keepalive.enable": "true"}],
    )


class Route(Group):
    """Events whose name matches go to a topic of their own."""

    match: Annotated[str, Text(what="a pattern of SSE event names such as tool_*", check=checks.pattern)]
    topic: Annotated[str, _TOPIC]
    server: Annotated[str | None, Text(what="the name of a server", check=checks.server_name)] = None


class TopicSettings(Group):
    """Topics: their names and how missing ones are created."""

    events: Annotated[str, _TOPIC] = Field(
        "", description="name of the topic; `<namespace>.events` when not given", examples=["mix.events"]
    )
    dead_letters: Annotated[str, _TOPIC] = Field(
        "", description="name of the topic; `<namespace>.dead-letters` when not given", examples=["mix.dead-letters"]
    )
    checkpoints: Annotated[str, _TOPIC] = Field(
        "", description="name of the topic; `<namespace>.checkpoints` when not given", examples=["mix.checkpoints"]
    )
    lifecycle: Annotated[str, _TOPIC] = Field(
        "", description="name of the topic; `<namespace>.lifecycle` when not given", examples=["mix.lifecycle"]
    )
    create: Annotated[bool, FLAG] = Field(
        default=True, description="create missing topics; an existing one is checked, never altered"
    )
    partitions: Annotated[int, Number(low=1, high=10_000)] = Field(8, description="of topics that are created")
    replication_factor: Annotated[int | None, Number(optional=True, low=1, high=32_767)] = Field(
        None, description="of topics that are created; none: the broker's default", examples=["3"]
    )
    shards: Annotated[int, Number(low=1, high=10_000)] = Field(
        8, description="partitions of the checkpoints topic: the most replicas that can share the work"
    )
    config: dict[str, Annotated[str, Text(what="a text", check=checks.config_value, empty=True)]] = Field(
        {},
        description="topic settings (retention, min.insync.replicas, ...) of created event, dead-letter and lifecycle"
        " topics",
        examples=[{"retention.ms": "604800000"}],
    )
    routes: Annotated[
        tuple[Route, ...],
        Rows(what='a list of tables {match = "tool_*", topic = "mix.tools"}, with server = "name" to narrow one'),
    ] = Field(
        (),
        description="`match` is a pattern of SSE event names; the first match wins; `server` narrows it",
        examples=['[{"match": "tool_*", "topic": "mix.tools"}]'],
    )


class EventSettings(Group):
    """What becomes of an event."""

    format: Annotated[EventFormat, Choice.of(EventFormat)] = Field(
        "structured", description="`structured` or `binary` CloudEvents, or `raw`"
    )
    type_prefix: Annotated[str, Text(what="a text without control characters", check=checks.any_text, empty=True)] = (
        Field("mix.", description="of the CloudEvents type")
    )
    skip: Annotated[tuple[str, ...], Texts(what="event types", check=checks.any_text)] = Field(
        (),
        description="event types not published, beside `connected` and `heartbeat`, which never are",
        examples=["thinking,tool_use_parameter_delta"],
    )
    unknown: Annotated[Fate, Choice.of(Fate)] = Field("publish", description="an event type without a schema")
    invalid: Annotated[Fate, Choice.of(Fate)] = Field("dead_letter", description="an event that fails its schema")
    max_bytes: Annotated[int, Size(low="1B", high="100MiB")] = Field(
        900 * 1024, description="of the encoded value; larger goes to dead letters as a marker"
    )


class DeliverySettings(Group):
    """How records get to Kafka."""

    guarantee: Annotated[Guarantee, Choice.of(Guarantee)] = Field(
        "at_least_once",
        description="`exactly_once` writes in transactions: consumers with `isolation.level=read_committed` see each"
        " event once, and the bridge needs WRITE on transactional ids (docs/operations.md). All replicas of a namespace"
        " have the same",
    )
    checkpoint_interval: Annotated[float, Duration(high="1h")] = Field(
        1.0, description="at least once: longest time an acknowledged position stays unwritten"
    )
    transaction_interval: Annotated[float, Duration(low="10ms", high="10s")] = Field(
        0.1,
        description="exactly once: longest time a transaction stays open, and so how much later than written a record"
        " is seen",
    )
    max_in_flight: Annotated[int, Number(low=1, high=10_000_000)] = Field(
        10_000, description="records per session not yet acknowledged; then the reader waits"
    )
    max_buffer_bytes: Annotated[int, Size(low="1KiB", high="1024GiB")] = Field(
        128 * 1024**2,
        description="bytes of all sessions not yet acknowledged; then readers wait. The record that fills it is taken"
        " whole, so it may be smaller than `events.max_bytes`",
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
    token: Annotated[SecretStr | None, TOKEN] = Field(
        None,
        description="when set, everything but `/livez` and `/readyz` wants it, as bearer or as the password of HTTP"
        " Basic",
        examples=["change-me"],
    )
    token_file: Annotated[Path | None, FILE] = Field(
        None, description="file with that token", examples=["/etc/mix-bridge/http-token"]
    )


class LogSettings(Group):
    """Logs, which go to stderr."""

    level: Annotated[LogLevel, Choice.of(LogLevel)] = Field("info", description="the least level that is written")
    format: Annotated[LogFormat | None, Choice.of(LogFormat)] = Field(
        None, description="`console` on a terminal, else `json`", examples=["json"]
    )


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)

    namespace: Annotated[str, Text(what="1 to 200 of the characters a-z A-Z 0-9 . _ -", check=checks.namespace)] = (
        Field(
            "mix",
            description="prefix of the default topic names, the consumer group (`<namespace>.bridge`) and the"
            " transactional ids. All replicas of a namespace name the same servers",
        )
    )
    instance: Annotated[
        str | None, Text(optional=True, what="1 to 249 of the characters a-z A-Z 0-9 . _ -", check=checks.instance)
    ] = Field(
        None,
        description="a stable name of this replica (host, pod), another one for each: a restart under it takes its"
        " shards back at once",
        examples=["bridge-0"],
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
