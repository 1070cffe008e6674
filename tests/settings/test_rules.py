"""Mistakes: one line each with the key, the value unless it is secret, and the allowed values; all in one error."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import SettingsError
from bridge.settings import load
from bridge.settings.catalogue import all_keys
from bridge.settings.properties import OWN_KEY, refusal
from tests.support.settings_sources import loaded, mistake, mistakes

LOCAL = {"servers.local.url": "http://localhost:8088"}
SECURE = {"servers.local.url": "https://localhost:8088"}
SASL = {"kafka.security_protocol": "sasl_ssl"}

_HALF = "has a character that is not UTF-8 (half of a surrogate pair)"
BREAKING = """
    acks request.required.acks enable.idempotence idempotence transactional.id partitioner partitioner_cb
    message.timeout.ms delivery.timeout.ms enable.auto.commit enable.auto.offset.store auto.commit.interval.ms
    auto.offset.reset group.id group.instance.id group.protocol heartbeat.interval.ms max.poll.interval.ms
    transaction.timeout.ms log.connection.close isolation.level retries message.send.max.retries max.in.flight
    max.in.flight.requests.per.connection enable.gapless.guarantee queuing.strategy delivery.report.only.error
    batch.size enable.partition.eof error_cb on_delivery test.mock.num.brokers plugin.library.paths
    default_topic_conf msg_order_cmp
"""
HARMLESS = """
    client.id linger.ms queue.buffering.max.ms socket.keepalive.enable batch.num.messages debug log_level
    statistics.interval.ms compression.level ssl.endpoint.identification.algorithm reconnect.backoff.ms
"""


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kafka.compression", "lz5", "'lz5' is not allowed; allowed: none, gzip, snappy, lz4 or zstd"),
        ("kafka.compression", "", "'' is not allowed; allowed: none, gzip"),
        ("topics.create", "maybe", "'maybe' is not allowed; allowed: true or false"),
        ("topics.create", 1, "'1' is not allowed; allowed: true or false"),
        ("http.port", "65536", "'65536' is out of range; allowed: a whole number from 0 to 65535, or none"),
        ("http.port", "-1", "'-1' is out of range"),
        ("http.port", "http", "'http' is not a whole number"),
        ("http.port", "--5", "'--5' is not a whole number"),
        ("http.port", True, "'true' is not a whole number"),
        ("http.port", 80.5, "'80.5' is not a whole number"),
        ("http.host", "a b", "'a b' is not a host name or an IP address"),
        ("topics.partitions", "0", "'0' is out of range; allowed: a whole number from 1 to 10000"),
        ("topics.replication_factor", "0", "'0' is out of range"),
        ("topics.shards", "", "'' is not a whole number"),
        ("delivery.max_in_flight", "0", "'0' is out of range"),
        ("delivery.checkpoint_interval", "0", "'0' is out of range; allowed: a duration such as"),
        ("delivery.checkpoint_interval", "1w", "'1w' is not a duration; allowed: a duration such as"),
        ("delivery.checkpoint_interval", True, "'true' is not a duration"),
        ("delivery.checkpoint_interval", float("nan"), "'nan' is not a duration"),
        ("start_timeout", "-1s", "'-1s' is not a duration"),
        ("events.max_bytes", "1KB", "'1KB' is not a size; allowed: a size such as 64KiB"),
        ("events.max_bytes", "1GiB", "'1GiB' is out of range"),
        ("events.max_bytes", "9" * 5000, "is not a size"),
        ("events.max_bytes", 1.5, "'1.5' is not a size"),
        ("events.skip", "a,,b", "'a,,b' has an empty item"),
        ("events.skip", "a,a", "'a,a' has an item twice"),
        ("events.skip", "[1", "'[1' is not JSON"),
        ("events.skip", 5, "'5' is not a list"),
        ("events.type_prefix", "a\nb", r"'a\nb' has a control character"),
        ("namespace", "a b", "'a b' is not a legal prefix of a topic name; allowed: 1 to 200 of the characters"),
        ("namespace", "x" * 201, "is too long"),
        ("namespace", "", "'' is empty"),
        ("topics.events", "a/b", "'a/b' is not a legal topic name; allowed: 1 to 249 of the characters"),
        ("topics.events", "..", "'..' is not a legal topic name"),
        ("topics.events", "x" * 250, "is too long"),
        ("topics.events", "__consumer_offsets", "'__consumer_offsets' is an internal topic of Kafka"),
        ("topics.routes", "[]x", "'[]x' is not JSON; allowed: a list of tables"),
        ("topics.routes", "{}", "'{}' is not a list of tables"),
        ("kafka.bootstrap_servers", "a:b", "'a:b' has an item that is not host:port; allowed: a list"),
        ("kafka.bootstrap_servers", "a:70000", "'a:70000' has a port out of range"),
        ("kafka.bootstrap_servers", "", "'' is empty"),
        ("kafka.bootstrap_servers", "u:hunter2@a:1", "'**********@a:1' has an item that is not host:port"),
        ("log.level", "loud", "'loud' is not allowed; allowed: debug, info, warning or error"),
        ("kafka.properties.Acks", "1", "'Acks' is not a name of a Kafka property"),
        ("topics.config.a b", "1", "'a b' is not a name of a Kafka property"),
        ("instance", "replica 1", "; allowed: "),
        ("instance", "..", "; allowed: "),
        ("instance", "", "; allowed: "),
        ("instance", "x" * 250, "; allowed: "),
        ("kafka.group_session_timeout", "5999ms", "; allowed: "),
        ("kafka.group_session_timeout", "31m", "; allowed: "),
        ("delivery.transaction_interval", "9ms", "; allowed: "),
        ("delivery.transaction_interval", "11s", "; allowed: "),
        ("delivery.guarantee", "at_most_once", "; allowed: "),
        ("servers.local.sessions", "a\udcffb", _HALF),
        ("servers.local.sessions", '["a\\ud800"]', _HALF),
        ("servers.local.start_after_id", "\udcff", _HALF),
        ("kafka.bootstrap_servers", "\udcff:9092", _HALF),
        ("http.host", "\udcff", _HALF),
        ("http.token_file", "", "'' is not a path"),
        (
            "servers.local.url",
            "localhost:8088",
            "'localhost:8088' does not begin with http:// or https://; allowed: http",
        ),
        ("servers.local.url", "ftp://h", "'ftp://h' does not begin with http:// or https://"),
        ("servers.local.url", "http://", "'http://' has no host"),
        ("servers.local.url", "http://:80", "has no host"),
        ("servers.local.url", "http://h:99999", "has an invalid host or port"),
        ("servers.local.url", "http://h:0", "has port 0"),
        ("servers.local.url", "http://[::1", "has an invalid host or port"),
        ("servers.local.url", "http://h/?a=b", "has a query or fragment"),
        ("servers.local.url", "http://h#", "has a query or fragment"),
        ("servers.local.url", "http://h /", "has a space"),
        ("servers.local.url", "http://u:hunter2@h:x", "'http://**********@h:x' has an invalid host or port"),
        ("servers.local.url", "http://u:hunter/2@h", "'http://**********@h' has an invalid host or port"),
        ("servers.local.url", "http://u:80/hunter2@h", "'http://**********@h' has an @ in its path"),
        ("servers.local.url", "u:hunter2@h", "'**********@h' does not begin"),
        ("servers.local.proxy", "socks5://h", "'socks5://h' does not begin with http:// or https://; allowed: http://"),
        ("servers.local.proxy", "http://u:hunter2@p:1/x", "'http://**********@p:1/x' has a path"),
        ("servers.local.sessions", "a\tb", r"'a\tb' has a control character"),
        ("servers.local.sessions", '[" a"]', "begins or ends with a space"),
        ("servers.local.sessions", "x" * 1025, "more than 1024 characters"),
        ("servers.local.sessions", "a,..", "has the id '.' or '..'"),
        ("servers.local.stream_path", "stream", "'stream' does not begin with one /; allowed: a path that"),
        ("servers.local.stream_path", "//evil.example/{session}", "does not begin with one /"),
        ("servers.local.stream_path", "/{session}/{session}", "has {session} more than once"),
        ("servers.local.stream_path", "/{sesion}", "has a character that is not allowed in a path"),
        ("servers.local.stream_path", "/a b/{session}", "has a character that is not allowed in a path"),
        ("servers.local.start_after_id", "a\nb", "has a control character"),
        ("servers.local.start_after_id", " a", "begins or ends with a space"),
        ("servers.local.without_ids", "ignore", "'ignore' is not allowed; allowed: refuse or accept"),
        ("servers.local.headers.x", "hunter2 ü", "the value (not shown) has a character that a header cannot contain"),
        ("servers.local.max_connection_age", "0", "'0' is out of range; allowed: a duration"),
        ("servers.local.read_timeout", "0", "'0' is out of range"),
        ("servers.local.max_sessions", "0", "'0' is out of range"),
        ("servers.local.headers.bad name", "x", "'bad name' is not a header name"),
        ("servers.local.headers.Last-Event-ID", "x", "'last-event-id' is a header that the bridge sends itself"),
        (
            "servers.local.headers.x",
            "hunter2\r\nEvil: 1",
            "the value (not shown) has a character that a header cannot contain",
        ),
        ("servers.local.headers.x", "hunter2 ", "the value (not shown) begins or ends with a space"),
        ("servers.local.token", "hunter2 x", "the value (not shown) has a space"),
        ("servers.local.token", "", "the value (not shown) is empty"),
    ],
)
def test_a_mistake_names_the_value_and_the_allowed_values(key, value, message):
    line = mistake(set={**LOCAL, key: value})
    assert line.startswith(f"{key}: ")
    assert message in line
    assert len(line) < 400
    assert "hunter" not in line


def test_all_mistakes_are_reported_together():
    lines = mistakes(
        {"MIX_BRIDGE_KAFKA__COMPRESION": "x", "MIX_BRIDGE_HTTP__PORT": "x"},
        set={
            "servers.one.url": "nowhere",
            "servers.one.reconnect_min": "2m",
            "servers.two.token": "a b",
            "servers.two.discover": "false",
            "kafka.properties.acks": "1",
            "kafka.sasl_username": "u",
            "topics.events": "same",
            "topics.checkpoints": "same",
            "topics.routes": '[{"match": "", "topc": "x"}]',
            "instance": "m e",
        },
    )
    assert [line.split(": ")[0] for line in lines] == [
        "MIX_BRIDGE_KAFKA__COMPRESION",
        "instance",
        "servers.one.url",
        "servers.two.url",
        "servers.two.token",
        "topics.routes[0].match",
        "topics.routes[0].topic",
        "topics.routes[0].topc",
        "http.port",
        "kafka.sasl_username",
        "kafka.properties.acks",
        "topics.events",
        "topics.checkpoints",
        "servers.one.reconnect_min",
        "servers.two.sessions",
    ]


def test_a_mistake_names_the_origin_of_the_value(tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text('[log]\nlevel = "loud"')
    assert mistake(toml=file).endswith(f"(from {file})")
    assert mistake({"MIX_BRIDGE_LOG__LEVEL": "loud"}, file).endswith("(from MIX_BRIDGE_LOG__LEVEL)")
    assert mistake(toml=file, set={"log.level": "loud"}).endswith("(from --set)")
    assert mistake(servers={"x": "y"}).endswith("(from --server)")


def test_an_instance_leaves_room_for_the_numbers_of_its_workers():
    """Otherwise each worker would refuse its own name."""
    line = mistake(set={**LOCAL, "instance": "x" * 247, "workers": "10"})
    assert line.startswith("instance: 'xxx")
    assert "is too long for the names of 10 workers; allowed: up to 246 characters" in line
    assert loaded(set={**LOCAL, "instance": "x" * 247, "workers": "9"}).workers == 9


def test_a_start_requires_a_server_and_kafka():
    assert [line.split(":")[0] for line in mistakes(to_run=True)] == ["servers", "kafka.bootstrap_servers"]
    assert loaded(set={**LOCAL, "kafka.bootstrap_servers": "a:1"}, to_run=True).servers


def test_a_server_requires_a_url():
    line = mistake(set={"servers.local.sessions": "a"})
    assert line.startswith("servers.local.url: is missing; allowed: http:// or https://")
    assert mistake({"MIX_BRIDGE_SERVERS": '{"local": {}}'}).startswith("servers.local.url: is missing")


def test_the_minimum_back_off_is_not_above_the_maximum():
    assert loaded(set={**LOCAL, "servers.local.reconnect_min": "60s"}).servers["local"].reconnect_min == 60
    line = mistake(set={**LOCAL, "servers.local.reconnect_max": "100ms"})
    assert line == (
        "servers.local.reconnect_min: '500ms' is above servers.local.reconnect_max (100ms); allowed: at most this value"
    )


def test_a_server_requires_sessions_or_discovery():
    line = mistake(set={**LOCAL, "servers.local.discover": "false"})
    assert line.startswith("servers.local.sessions: is empty; allowed: session ids, or servers.local.discover = true")


def test_a_stream_path_without_session_requires_one_session():
    one = {
        **LOCAL,
        "servers.local.stream_path": "/events",
        "servers.local.discover": "no",
        "servers.local.sessions": "a",
    }
    assert loaded(set=one).servers["local"].stream_path == "/events"
    for more in ({"servers.local.sessions": "a,b"}, {"servers.local.discover": "yes"}):
        assert mistake(set=one | more).startswith(
            "servers.local.stream_path: '/events' has no {session}, so all sessions would read"
        )


@pytest.mark.parametrize(
    "given_keys",
    [
        {"servers.local.token": "t", "servers.local.headers.Authorization": "Basic x"},
        {"servers.local.url": "http://u:p@h", "servers.local.token": "t"},
        {"servers.local.url": "http://u:p@h", "servers.local.headers.authorization": "x"},
    ],
)
def test_only_one_setting_may_set_the_authorization_header(given_keys):
    assert "which also sets the Authorization header; allowed: one of the two" in mistake(set=LOCAL | given_keys)


def test_client_certificate_and_key_belong_together(tmp_path):
    file = tmp_path / "x.pem"
    file.write_text("x")
    line = mistakes(set={**SECURE, "servers.local.client_key_file": str(file)})[-1]
    assert (
        line
        == f"servers.local.client_key_file: {str(file)!r} needs servers.local.client_cert_file; allowed: both or none"
    )
    secure = {"kafka.security_protocol": "ssl"}
    assert "needs kafka.ssl_key_file" in mistake(set={**secure, "kafka.ssl_cert_file": str(file)})
    assert "needs kafka.ssl_cert_file" in mistake(set={**secure, "kafka.ssl_key_file": str(file)})


def test_tls_files_require_tls(tmp_path):
    file = tmp_path / "x.pem"
    file.write_text("x")
    assert (
        "requires TLS; allowed: with an https:// servers.local.url"
        in mistakes(set={**LOCAL, "servers.local.ca_file": str(file)})[-1]
    )
    assert "requires TLS, which kafka.security_protocol does not use" in mistake(set={"kafka.ssl_ca_file": str(file)})


@pytest.mark.parametrize(
    "key", ["sasl_mechanism", "sasl_username", "sasl_password", "properties.sasl.oauthbearer.method"]
)
@pytest.mark.parametrize("protocol", [{}, {"kafka.security_protocol": "ssl"}])
def test_sasl_settings_require_a_sasl_protocol(key, protocol):
    line = mistake(set={f"kafka.{key}": "GSSAPI", **protocol})
    shown = "'GSSAPI' " if key in {"sasl_mechanism", "sasl_username"} else ""
    assert line.startswith(
        f"kafka.{key}: {shown}requires SASL, which kafka.security_protocol does not use; allowed: with"
    )


def test_a_login_requires_user_and_password(tmp_path):
    lines = mistakes(set={**SASL, "kafka.sasl_mechanism": "plain"})
    assert [line.split(":")[0] for line in lines] == ["kafka.sasl_username", "kafka.sasl_password"]
    file = tmp_path / "password"
    file.write_text("p\n")
    login = {
        **SASL,
        "kafka.sasl_mechanism": "scram-sha-256",
        "kafka.sasl_username": "u",
        "kafka.sasl_password_file": str(file),
    }
    assert loaded(set=login).kafka.sasl_mechanism == "SCRAM-SHA-256"


def test_oauthbearer_needs_a_source_of_tokens():
    """Without one the client waits for ever and reports nothing."""
    oauth = {**SASL, "kafka.sasl_mechanism": "OAUTHBEARER"}
    line = mistake(set=oauth)
    assert line.startswith("kafka.sasl_mechanism: 'OAUTHBEARER' has no source of tokens; allowed: ")
    assert "kafka.properties.sasl.oauthbearer.method = oidc" in line
    for name, value in (("sasl.oauthbearer.method", "oidc"), ("enable.sasl.oauthbearer.unsecure.jwt", "true")):
        assert loaded(set={**oauth, f"kafka.properties.{name}": value}).kafka.sasl_username is None


@pytest.mark.parametrize("name", [*BREAKING.split(), *OWN_KEY])
def test_properties_that_would_break_delivery_or_have_a_key_are_refused(name):
    line = mistake(set={f"kafka.properties.{name}": "hunter2"})
    assert line.startswith(f"kafka.properties.{name}: ")
    assert "; allowed: " in line
    assert "hunter2" not in line


@pytest.mark.parametrize("value", ["9999", "60001"])
def test_the_request_timeout_has_limits_with_transactions(value):
    given = {"kafka.properties.socket.timeout.ms": value}
    assert loaded(set=LOCAL | given).kafka.properties
    line = mistake(set=LOCAL | given | {"delivery.guarantee": "exactly_once"})
    assert line.startswith("kafka.properties.socket.timeout.ms: is not possible with transactions")
    assert "allowed: 10000 to 60000" in line


@pytest.mark.parametrize("value", ["10000", "60000", "no number, which the client refuses"])
def test_other_request_timeouts_are_accepted(value):
    given = {"kafka.properties.socket.timeout.ms": value, "delivery.guarantee": "exactly_once"}
    assert loaded(set=LOCAL | given).delivery.guarantee == "exactly_once"


def test_a_property_with_its_own_key_names_the_key():
    line = mistake(set={"kafka.properties.session.timeout.ms": "1"})
    assert "has its own key; allowed: kafka.group_session_timeout" in line
    assert "allowed: kafka.sasl_password" in mistake(set={"kafka.properties": '{"sasl.password": "x"}', **SASL})


@pytest.mark.parametrize("name", HARMLESS.split())
def test_other_properties_are_passed_on(name):
    assert refusal(name) is None


def test_the_names_of_topics_follow_the_namespace():
    topics = loaded(set={"namespace": "own", "topics.dead_letters": "dlq"}).topics
    names = (topics.events, topics.dead_letters, topics.checkpoints, topics.lifecycle)
    assert names == ("own.events", "dlq", "own.checkpoints", "own.lifecycle")
    assert loaded(set={"namespace": "own"}).topics.dead_letters == "own.dead-letters"


@pytest.mark.parametrize(
    ("key", "name", "other"),
    [
        ("events", "mix.checkpoints", "checkpoints"),
        ("events", "mix_checkpoints", "checkpoints"),
        ("events", "mix.lifecycle", "lifecycle"),
        ("dead_letters", "mix_lifecycle", "lifecycle"),
        ("checkpoints", "mix.lifecycle", "lifecycle"),
    ],
)
def test_topics_of_the_bridge_have_different_names(key, name, other):
    lines = mistakes(set={f"topics.{key}": name})
    assert [line.split(":")[0] for line in lines] == [f"topics.{key}", f"topics.{other}"]


@pytest.mark.parametrize("topic", ["mix.checkpoints", "mix.dead-letters", "mix_checkpoints", "mix.lifecycle"])
def test_routes_must_not_use_other_topics_of_the_bridge(topic):
    line = mistake(set={"topics.routes": f'[{{"match": "*", "topic": "{topic}"}}]'})
    assert line.startswith(f"topics.routes[0].topic: {topic!r} holds dead letters, checkpoints or lifecycle records")


def test_a_route_is_a_table():
    line = mistake(set={"topics.routes": '["a"]'})
    assert line.startswith("topics.routes[0]: the value (not shown) is not allowed; allowed: a table of settings")


def test_routes_name_configured_servers():
    route = '[{"match": "a", "topic": "t"}, {"match": "*", "topic": "t", "server": "remote"}]'
    assert (
        mistake(set={**LOCAL, "topics.routes": route})
        == "topics.routes[1].server: 'remote' is not a configured server; allowed: local"
    )


def test_settings_of_topics_must_not_break_delivery():
    assert "cleanup.policy: 'compact,delete' would delete events" in mistake(
        set={"topics.config.cleanup.policy": "compact,delete"}
    )
    assert "max.message.bytes: '1000' is too small" in mistake(set={"topics.config.max.message.bytes": "1000"})
    both = {"topics.config.min.insync.replicas": "3", "topics.replication_factor": "2"}
    assert "min.insync.replicas: '3' is above topics.replication_factor (2)" in mistake(set=both)
    assert loaded(set={"topics.config.retention.ms": "-1", "topics.config.cleanup.policy": "delete"}).topics.config


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        ("kafka.security_protocol", "SSL", "ssl"),
        ("kafka.compression", "ZSTD", "zstd"),
        ("log.level", "DEBUG", "debug"),
        ("servers.local.start_after_id", "", ""),
        ("servers.local.start_after_id", 7, "7"),
        *(("instance", name, name) for name in ("bridge-0", "a.b_C", "x" * 249)),
        ("instance", "none", None),
        ("delivery.guarantee", None, "at_least_once"),
        ("delivery.guarantee", "exactly_once", "exactly_once"),
        ("delivery.transaction_interval", "10ms", 0.01),
        ("kafka.group_session_timeout", 6, 6),
        ("topics.lifecycle", "own", "own"),
        ("servers.local.max_connection_age", "9m", 540),
        ("servers.local.without_ids", "accept", "accept"),
        ("servers.local.overlap", None, True),
        *(("servers.local.overlap", given, True) for given in ("true", True)),
        *(("servers.local.overlap", given, False) for given in ("false", False)),
        ("delivery.max_buffer_bytes", "1KiB", 1024),
        ("delivery.checkpoint_interval", "1ms", 0.001),
        ("events.max_bytes", "1", 1),
        ("servers.local.discover_interval", "1ms", 0.001),
        ("servers.local.max_connection_age", "1ms", 0.001),
        ("servers.local.reconnect_min", "1ms", 0.001),
        ("servers.local.reconnect_min", "0", 0.001),
        ("servers.local.reconnect_min", 0, 0.001),
        ("servers.local.sessions", "é" * 1024, ("é" * 1024,)),
    ],
)
def test_allowed_values_are_read(key, value, result):
    """None: the default. A back-off of 0 would stay 0 when doubled: a server that is away would get no pause."""
    found: Any = loaded(set=LOCAL if value is None else {**LOCAL, key: value})
    for segment in key.split("."):
        found = found["local"] if segment == "local" else getattr(found, segment)
    assert found == result


def test_a_rule_skips_keys_with_invalid_values():
    assert mistake(
        set={**LOCAL, "servers.local.reconnect_min": "x", "servers.local.reconnect_max": "100ms"}
    ).startswith("servers.local.reconnect_min: 'x' is not a duration")


_PATHS = [".".join("local" if segment == "*" else segment for segment in key.path) for key in all_keys()]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(_PATHS),
        st.text() | st.integers() | st.booleans() | st.floats() | st.just([]) | st.just({}),
        max_size=4,
    )
)
def test_any_input_gives_settings_or_mistakes_of_one_line(given_values):
    try:
        load({**LOCAL, **given_values}, {})
    except SettingsError as error:
        assert len(str(error).splitlines()) == len(error.mistakes)  # noqa: PT017 - either outcome is right
