"""The settings: one frozen tree. Each setting is defined here once; sources, reference, examples and schema follow it.

Durations are float seconds, sizes are int bytes, lists are tuples, secrets are ``SecretStr`` or `Address`.
Any thread may read it. `bridge.settings.load` makes it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.settings import checks
from bridge.settings.server import ServerSettings
from bridge.settings.values import (
    DURATION,
    JSON_LIST,
    LIST,
    LOWER,
    NOT_EMPTY,
    ROWS,
    SIZE,
    TEXT,
    UPPER,
    WHOLE,
    Allowed,
    BearerToken,
    Brokers,
    FilePath,
    Flag,
    Group,
    OrNone,
    Password,
    PrintableText,
    PropertyValue,
    TopicName,
    each,
)

SecurityProtocol = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"]
Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]
EventFormat = Literal["structured", "binary", "raw"]
Action = Literal["publish", "dead_letter", "skip"]
Guarantee = Literal["at_least_once", "exactly_once"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json"]


class KafkaSettings(Group):
    """How to reach Kafka."""

    bootstrap_servers: Brokers = Field(
        "", description="bootstrap brokers; `run` and `check` require them", examples=["localhost:9092"]
    )
    security_protocol: Annotated[SecurityProtocol, LOWER] | None = Field(
        None, description="the default of the Kafka client is plaintext", examples=["sasl_ssl"]
    )
    sasl_mechanism: Annotated[SaslMechanism, UPPER] | None = Field(
        None,
        description="SASL mechanism; all SASL settings require a SASL security protocol",
        examples=["SCRAM-SHA-512"],
    )
    sasl_username: Annotated[PrintableText, NOT_EMPTY] | None = Field(
        None, description="SASL user", examples=["mix-bridge"]
    )
    sasl_password: Password | None = Field(None, description="SASL password", examples=["change-me"])
    sasl_password_file: FilePath | None = Field(
        None, description="file with the SASL password", examples=["/etc/mix-bridge/kafka-password"]
    )
    ssl_ca_file: FilePath | None = Field(
        None,
        description="trusted certificate authorities (PEM) for the brokers' certificates, instead of the system's",
        examples=["/etc/mix-bridge/kafka-ca.pem"],
    )
    ssl_cert_file: FilePath | None = Field(
        None, description="client certificate (PEM)", examples=["/etc/mix-bridge/kafka.pem"]
    )
    ssl_key_file: FilePath | None = Field(
        None, description="private key of the client certificate (PEM)", examples=["/etc/mix-bridge/kafka-key.pem"]
    )
    ssl_key_password: Password | None = Field(None, description="password of the private key", examples=["change-me"])
    ssl_key_password_file: FilePath | None = Field(
        None, description="file with the password of the private key", examples=["/etc/mix-bridge/kafka-key-password"]
    )
    compression: Annotated[Compression, LOWER] = Field("lz4", description="compression of record batches")
    group_session_timeout: Annotated[float, Field(ge=6, le=1800), DURATION] = Field(
        10.0,
        description="a replica that sends no heartbeat for this long loses its shards. The brokers limit the value"
        " (`group.min.session.timeout.ms`, 6 s by default, and `group.max.session.timeout.ms`)",
    )
    properties: dict[str, PropertyValue] = Field(
        {},
        description="librdkafka properties that every client gets unchanged; properties that would break delivery are"
        " refused (acks, idempotence, transactional.id, partitioner, message.timeout.ms, enable.auto.commit, group.*,"
        " ...)",
        examples=[{"socket.keepalive.enable": "true"}],
    )


ServerName = Annotated[str, TEXT, NOT_EMPTY, AfterValidator(checks.server_name), Allowed("the name of a server")]


class Route(Group):
    """Events whose name matches go to a topic of their own."""

    match: Annotated[PrintableText, NOT_EMPTY, Allowed("a pattern of SSE event names such as tool_*")]
    topic: TopicName
    server: (
        Annotated[str, TEXT, NOT_EMPTY, AfterValidator(checks.server_name), Allowed("the name of a server")] | None
    ) = None


class TopicSettings(Group):
    """Names of the topics, and how missing topics are created."""

    events: TopicName = Field("", description="topic of events; default: `<namespace>.events`", examples=["mix.events"])
    dead_letters: TopicName = Field(
        "", description="topic of dead letters; default: `<namespace>.dead-letters`", examples=["mix.dead-letters"]
    )
    checkpoints: TopicName = Field(
        "", description="topic of checkpoints; default: `<namespace>.checkpoints`", examples=["mix.checkpoints"]
    )
    lifecycle: TopicName = Field(
        "", description="topic of lifecycle records; default: `<namespace>.lifecycle`", examples=["mix.lifecycle"]
    )
    create: Flag = Field(default=True, description="create missing topics; an existing topic is checked, never altered")
    partitions: Annotated[int, Field(ge=1, le=10_000), WHOLE] = Field(
        8, description="number of partitions of created topics"
    )
    replication_factor: OrNone[Annotated[int, Field(ge=1, le=32_767), WHOLE]] = Field(
        None, description="replication factor of created topics; `none`: the default of the brokers", examples=["3"]
    )
    shards: Annotated[int, Field(ge=1, le=10_000), WHOLE] = Field(
        8,
        description="number of partitions of the checkpoints topic: the maximum number of replicas that can share the"
        " work",
    )
    config: dict[str, PrintableText] = Field(
        {},
        description="topic settings (retention.ms, min.insync.replicas, ...) of created event, dead-letter and"
        " lifecycle topics",
        examples=[{"retention.ms": "604800000"}],
    )
    routes: Annotated[
        tuple[Route, ...],
        ROWS,
        Allowed('a list of tables {match = "tool_*", topic = "mix.tools"}, with server = "name" for one server only'),
    ] = Field(
        (),
        description="`match` is a pattern of SSE event names; the first match wins; `server` limits a route to one"
        " server",
        examples=['[{"match": "tool_*", "topic": "mix.tools"}]'],
    )


class EventSettings(Group):
    """How an event becomes a record."""

    format: Annotated[EventFormat, LOWER] = Field(
        "structured", description="`structured` or `binary` CloudEvents, or `raw`"
    )
    type_prefix: PrintableText = Field("mix.", description="prefix of the CloudEvents type")
    skip: Annotated[
        tuple[str, ...],
        LIST,
        each(checks.any_text),
        JSON_LIST,
        Allowed("a list (JSON or commas) of event types, none twice"),
    ] = Field(
        (),
        description="event types that are not published, in addition to `connected` and `heartbeat`",
        examples=["thinking,tool_use_parameter_delta"],
    )
    unknown: Annotated[Action, LOWER] = Field("publish", description="action for an event type without a schema")
    invalid: Annotated[Action, LOWER] = Field("dead_letter", description="action for an event that violates its schema")
    max_bytes: Annotated[int, Field(ge=1, le=100 * 1024**2), SIZE] = Field(
        900 * 1024, description="maximum size of an encoded value; a larger event becomes a dead letter"
    )


class DeliverySettings(Group):
    """How records get to Kafka."""

    guarantee: Annotated[Guarantee, LOWER] = Field(
        "at_least_once",
        description="`exactly_once` writes in transactions: consumers with `isolation.level=read_committed` see each"
        " event once. It requires the ACL operation Write on the transactional ids (docs/security.md). All replicas of"
        " a namespace must use the same guarantee",
    )
    checkpoint_interval: Annotated[float, Field(ge=0.001, le=3600), DURATION] = Field(
        1.0, description="at least once: maximum time until an acknowledged position is written as a checkpoint"
    )
    transaction_interval: Annotated[float, Field(ge=0.01, le=10), DURATION] = Field(
        0.1,
        description="exactly once: maximum time that a transaction stays open; consumers see its records after the"
        " commit",
    )
    max_in_flight: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] = Field(
        10_000,
        description="maximum number of unacknowledged records per session; the reader of the session waits at this"
        " limit",
    )
    max_buffer_bytes: Annotated[int, Field(ge=1024, le=1024**4), SIZE] = Field(
        128 * 1024**2,
        description="maximum number of unacknowledged bytes of all sessions; all readers wait at this limit. The last"
        " record may exceed it, so the limit may be lower than `events.max_bytes`",
    )
    drain_timeout: Annotated[float, Field(ge=0, le=3600), DURATION] = Field(
        25.0, description="maximum time of a graceful shutdown; after it the exit code is 75"
    )


class HttpSettings(Group):
    """The HTTP endpoint of the daemon."""

    host: Annotated[str, TEXT, NOT_EMPTY, AfterValidator(checks.host), Allowed("a host name or an IP address")] = Field(
        "127.0.0.1",
        description="address on which health, metrics and status are served; the container image sets `0.0.0.0`",
    )
    port: OrNone[Annotated[int, Field(ge=0, le=65_535), WHOLE]] = Field(
        8090, description="`0` picks a free port and logs it, `none` disables the endpoint"
    )
    token: BearerToken | None = Field(
        None,
        description="if set, every path except `/livez` and `/readyz` requires it, as a bearer token or as the password"
        " of HTTP Basic",
        examples=["change-me"],
    )
    token_file: FilePath | None = Field(
        None, description="file with the token", examples=["/etc/mix-bridge/http-token"]
    )


class LogSettings(Group):
    """Logs, which go to stderr."""

    level: Annotated[LogLevel, LOWER] = Field("info", description="minimum level of a message")
    format: Annotated[LogFormat, LOWER] | None = Field(
        None, description="default: `console` on a terminal, otherwise `json`", examples=["json"]
    )


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)

    namespace: Annotated[
        str,
        TEXT,
        NOT_EMPTY,
        AfterValidator(checks.namespace),
        Allowed("1 to 200 of the characters a-z A-Z 0-9 . _ -"),
    ] = Field(
        "mix",
        description="prefix of the default topic names, of the consumer group (`<namespace>.bridge`) and of the"
        " transactional ids. All replicas of a namespace must have the same servers",
    )
    instance: OrNone[
        Annotated[
            str,
            TEXT,
            NOT_EMPTY,
            AfterValidator(checks.instance),
            Allowed("1 to 249 of the characters a-z A-Z 0-9 . _ -"),
        ]
    ] = Field(
        None,
        description="stable and unique name of this replica (host, pod); a replica that restarts under the same name"
        " gets its shards back immediately",
        examples=["bridge-0"],
    )
    start_timeout: Annotated[float, Field(ge=0, le=604_800), DURATION] = Field(
        60.0,
        description="if Kafka, or every server, is unreachable for this long at start, the exit code is 69; `0`: no"
        " limit",
    )
    servers: dict[str, ServerSettings] = Field({}, description="servers by name")
    kafka: KafkaSettings = Field(KafkaSettings(), description="Kafka")
    topics: TopicSettings = Field(TopicSettings(), description="topics")
    events: EventSettings = Field(EventSettings(), description="events")
    delivery: DeliverySettings = Field(DeliverySettings(), description="delivery")
    http: HttpSettings = Field(HttpSettings(), description="HTTP")
    log: LogSettings = Field(LogSettings(), description="logs")

    @classmethod
    def from_tables(cls, *tables: dict[str, Any]) -> Settings:
        """The tree of what sources have given, the strongest first. Raises pydantic's ValidationError."""
        sources: dict[str, Any] = {"tables": tables}
        return cls(**sources)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic-settings'
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The tables, so that pydantic-settings merges them.

        `bridge.settings.sources` has read them with the sources of pydantic-settings before, one at a time: the
        library itself would stop at the first source with an error.
        """
        tables: tuple[dict[str, Any], ...] = getattr(init_settings, "init_kwargs", {}).get("tables", ())
        return tuple(InitSettingsSource(settings_cls, table) for table in tables)
