"""The settings: one frozen tree. Each setting is defined here once; sources, reference, examples and schema follow it.

Durations are float seconds, sizes are int bytes, lists are tuples, secrets are ``SecretStr`` or `Address`.
Any thread may read it. `bridge.settings.load` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.settings import checks
from bridge.settings.server import ServerSettings
from bridge.settings.values import (
    DURATION,
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
    Instance,
    Namespace,
    OrNone,
    Password,
    PrintableText,
    PropertyValue,
    Texts,
    TopicName,
    Url,
    Workers,
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
OnOff = Literal["off", "on"]

HostName = Annotated[str, TEXT, NOT_EMPTY, AfterValidator(checks.host), Allowed("a host name or an IP address")]
ServerName = Annotated[str, TEXT, NOT_EMPTY, AfterValidator(checks.server_name), Allowed("the name of a server")]


class KafkaSettings(Group):
    """How to reach Kafka."""

    bootstrap_servers: Brokers = Field("", examples=["localhost:9092"])
    """Bootstrap brokers; `run` and `check` require them."""
    security_protocol: Annotated[SecurityProtocol, LOWER] | None = Field(None, examples=["sasl_ssl"])
    """The default of the Kafka client is plaintext."""
    sasl_mechanism: Annotated[SaslMechanism, UPPER] | None = Field(None, examples=["SCRAM-SHA-512"])
    """SASL mechanism; all SASL settings require a SASL security protocol."""
    sasl_username: Annotated[PrintableText, NOT_EMPTY] | None = Field(None, examples=["mix-bridge"])
    """SASL user."""
    sasl_password: Password | None = Field(None, examples=["change-me"])
    """SASL password."""
    sasl_password_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/kafka-password"])
    """File with the SASL password."""
    ssl_ca_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/kafka-ca.pem"])
    """Trusted certificate authorities (PEM) for the brokers' certificates, instead of the system's."""
    ssl_cert_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/kafka.pem"])
    """Client certificate (PEM)."""
    ssl_key_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/kafka-key.pem"])
    """Private key of the client certificate (PEM)."""
    ssl_key_password: Password | None = Field(None, examples=["change-me"])
    """Password of the private key."""
    ssl_key_password_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/kafka-key-password"])
    """File with the password of the private key."""
    compression: Annotated[Compression, LOWER] = "lz4"
    """Compression of record batches."""
    group_session_timeout: Annotated[float, Field(ge=6, le=1800), DURATION] = 10.0
    """A replica that sends no heartbeat for this long loses its shards. The brokers limit the value
    (`group.min.session.timeout.ms`, 6 s by default, and `group.max.session.timeout.ms`)."""
    properties: dict[str, PropertyValue] = Field({}, examples=[{"socket.keepalive.enable": "true"}])
    """Properties of librdkafka that every client gets unchanged. Properties that would break delivery are refused
    (acks, idempotence, transactional.id, partitioner, message.timeout.ms, enable.auto.commit, group.*, ...)."""


class Route(Group):
    """Events whose name matches go to a topic of their own."""

    match: Annotated[PrintableText, NOT_EMPTY, Allowed("a pattern of SSE event names such as tool_*")]
    """Pattern of SSE event names, such as `tool_*`."""
    topic: TopicName
    """Topic of the events that match."""
    server: ServerName | None = None
    """Only events of this server; without it, of all servers."""


class TopicSettings(Group):
    """Names of the topics, and how missing topics are created."""

    events: TopicName = Field("", examples=["mix.events"])
    """Topic of events; default: `<namespace>.events`."""
    dead_letters: TopicName = Field("", examples=["mix.dead-letters"])
    """Topic of dead letters; default: `<namespace>.dead-letters`."""
    checkpoints: TopicName = Field("", examples=["mix.checkpoints"])
    """Topic of checkpoints; default: `<namespace>.checkpoints`."""
    lifecycle: TopicName = Field("", examples=["mix.lifecycle"])
    """Topic of lifecycle records; default: `<namespace>.lifecycle`."""
    create: Flag = True
    """Create missing topics; an existing topic is checked, never altered."""
    partitions: Annotated[int, Field(ge=1, le=10_000), WHOLE] = 8
    """Number of partitions of created topics."""
    replication_factor: OrNone[Annotated[int, Field(ge=1, le=32_767), WHOLE]] = Field(None, examples=["3"])
    """Replication factor of created topics; `none`: the default of the brokers."""
    shards: Annotated[int, Field(ge=1, le=10_000), WHOLE] = 8
    """Number of partitions of the checkpoints topic: the maximum number of replicas that can share the work."""
    config: dict[str, PrintableText] = Field({}, examples=[{"retention.ms": "604800000"}])
    """Topic settings (retention.ms, min.insync.replicas, ...) of created event, dead-letter and lifecycle topics."""
    routes: Annotated[
        tuple[Route, ...],
        ROWS,
        Allowed('a list of tables {match = "tool_*", topic = "mix.tools"}, with server = "name" for one server only'),
    ] = Field((), examples=['[{"match": "tool_*", "topic": "mix.tools"}]'])
    """`match` is a pattern of SSE event names; the first match wins; `server` limits a route to one server."""


class EventSettings(Group):
    """How an event becomes a record."""

    format: Annotated[EventFormat, LOWER] = "structured"
    """`structured` or `binary` CloudEvents, or `raw`."""
    type_prefix: PrintableText = "mix."
    """Prefix of the CloudEvents type."""
    skip: Annotated[Texts, each(checks.any_text), Allowed("a list (JSON or commas) of event types, none twice")] = (
        Field((), examples=["thinking,tool_use_parameter_delta"])
    )
    """Event types that are not published, in addition to `connected` and `heartbeat`."""
    unknown: Annotated[Action, LOWER] = "publish"
    """Action for an event type without a schema."""
    invalid: Annotated[Action, LOWER] = "dead_letter"
    """Action for an event that violates its schema."""
    max_bytes: Annotated[int, Field(ge=1, le=100 * 1024**2), SIZE] = 900 * 1024
    """Maximum size of an encoded value; a larger event becomes a dead letter."""


class DeliverySettings(Group):
    """How records get to Kafka."""

    guarantee: Annotated[Guarantee, LOWER] = "at_least_once"
    """`exactly_once` writes in transactions: consumers with `isolation.level=read_committed` see each event once. It
    requires the ACL operation Write on the transactional ids (docs/security.md). All replicas of a namespace must
    use the same guarantee."""
    checkpoint_interval: Annotated[float, Field(ge=0.001, le=3600), DURATION] = 1.0
    """At least once: maximum time until an acknowledged position is written as a checkpoint."""
    transaction_interval: Annotated[float, Field(ge=0.01, le=10), DURATION] = 0.1
    """Exactly once: maximum time that a transaction stays open; consumers see its records after the commit."""
    max_in_flight: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] = 10_000
    """Maximum number of unacknowledged records per session; the reader of the session waits at this limit."""
    max_buffer_bytes: Annotated[int, Field(ge=1024, le=1024**4), SIZE] = 128 * 1024**2
    """Maximum number of unacknowledged bytes of all sessions; all readers wait at this limit. The last record may
    exceed it, so the limit may be lower than `events.max_bytes`."""
    drain_timeout: Annotated[float, Field(ge=0, le=3600), DURATION] = 25.0
    """Maximum time of a graceful shutdown; after it the exit code is 75."""


class HttpSettings(Group):
    """The HTTP endpoint of the daemon."""

    host: HostName = "127.0.0.1"
    """Address on which health, metrics and status are served; a host name means all
    its addresses, `::` IPv6 and IPv4. The container image sets `::`."""
    port: OrNone[Annotated[int, Field(ge=0, le=65_535), WHOLE]] = 8090
    """`0` picks a free port and logs it, `none` disables the endpoint."""
    token: BearerToken | None = Field(None, examples=["change-me"])
    """If set, every path except `/livez` and `/readyz` requires it, as a bearer token or as the password of HTTP
    Basic."""
    token_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/http-token"])
    """File with the token; a changed token is used within a minute, and the old one stays valid for another minute."""
    cert_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/http.pem"])
    """Certificate (PEM): the endpoint uses TLS. May contain the private key, if `key_file` is not set."""
    key_file: FilePath | None = Field(None, examples=["/etc/mix-bridge/http-key.pem"])
    """Private key of the certificate (PEM, without a password)."""


class TelemetrySettings(Group):
    """What records say to tracing systems."""

    traceparent: Annotated[OnOff, LOWER] = "off"
    """`on`: event records and dead letters carry a W3C trace context, as the header `traceparent` and as the
    CloudEvents attribute. It is derived from session, epoch and number, so that a repeat has the same value."""


class SchemaSettings(Group):
    """What records say about the schema of their data."""

    dataschema: OrNone[
        Annotated[
            str, TEXT, NOT_EMPTY, AfterValidator(checks.schema_uri), Allowed("a URI, with {event} for the event type")
        ]
    ] = Field(None, examples=["https://schemas.example.com/mix/{event}.json"])
    """URI of the schema of an event's data, the CloudEvents attribute `dataschema`; `{event}` stands for the event
    type. Only events with a schema have it. `mix-bridge schemas export` writes the files to serve there."""
    registry_url: OrNone[Url] = Field(None, examples=["http://schema-registry:8081"])
    """Confluent Schema Registry: records in the formats `binary` and `raw` carry the id of their schema in the header
    `__value_schema_id`, and their data stays unchanged. Register the schemas with `mix-bridge schemas register`.
    Requires `pip install 'mix-bridge[schemaregistry]'`."""


class LogSettings(Group):
    """Logs, which go to stderr."""

    level: Annotated[LogLevel, LOWER] = "info"
    """Minimum level of a message."""
    format: Annotated[LogFormat, LOWER] | None = Field(None, examples=["json"])
    """Default: `console` on a terminal, otherwise `json`."""


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False, use_attribute_docstrings=True
    )

    namespace: Namespace = "mix"
    """Prefix of the default topic names, of the consumer group (`<namespace>.bridge`) and of the transactional ids.
    All replicas of a namespace must have the same servers."""
    instance: OrNone[Instance] = Field(None, examples=["bridge-0"])
    """Stable and unique name of this replica (host, pod); a replica that restarts under the same name gets its shards
    back immediately."""
    workers: Workers = 1
    """Number of processes that this one starts and supervises, to use several cores; `auto`: one per core. They share
    the sessions as replicas do, under the names `<instance>-1`, `<instance>-2`, ..., behind one HTTP endpoint."""
    start_timeout: Annotated[float, Field(ge=0, le=604_800), DURATION] = 60.0
    """If Kafka, or every server, is unreachable for this long at start, the exit code is 69; `0`: no limit."""
    servers: dict[str, ServerSettings] = Field(
        {}, json_schema_extra={"propertyNames": {"pattern": "^[a-z0-9]+([_-][a-z0-9]+)*$"}}
    )
    """Servers by name."""
    kafka: KafkaSettings = KafkaSettings()
    """Kafka."""
    topics: TopicSettings = TopicSettings()
    """Topics."""
    events: EventSettings = EventSettings()
    """Events."""
    delivery: DeliverySettings = DeliverySettings()
    """Delivery."""
    http: HttpSettings = HttpSettings()
    """HTTP."""
    telemetry: TelemetrySettings = TelemetrySettings()
    """Tracing."""
    schemas: SchemaSettings = SchemaSettings()
    """Schemas."""
    log: LogSettings = LogSettings()
    """Logs."""

    @classmethod
    def of(cls, *given: Mapping[tuple[str, ...], Any]) -> Settings:
        """The tree of the values of all sources by path, the strongest first. Raises pydantic's ValidationError."""
        sources: dict[str, Any] = {"given": given}
        return cls(**sources)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources that pydantic-settings merges. `bridge.settings.sources` has resolved their names before."""
        given = getattr(init_settings, "init_kwargs", {}).get("given", ())
        return tuple(GivenValues(settings_cls, each) for each in given)


class GivenValues(EnvSettingsSource):
    """Values by path; nothing is decoded. Texts are read by the validators, so that all mistakes are found together."""

    def __init__(self, settings_cls: type[BaseSettings], given: Mapping[tuple[str, ...], Any]) -> None:
        self._given = {"\0".join(path): value for path, value in given.items()}  # no name contains it
        super().__init__(settings_cls, env_nested_delimiter="\0")

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:  # noqa: ANN401, ARG002 - the signature is the library's
        return value

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given
