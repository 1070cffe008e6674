"""Values in quotes: readers of env files keep the quotes that a shell removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.settings import load, load_all
from bridge.settings.quotes import quoted_secrets
from bridge.settings.show import as_lines
from tests.support.settings_sources import loaded, mistake

LOCAL = {"MIX_BRIDGE_SERVERS__LOCAL__URL": "http://localhost:8088"}
SASL = {
    "MIX_BRIDGE_KAFKA__SECURITY_PROTOCOL": "sasl_ssl",
    "MIX_BRIDGE_KAFKA__SASL_MECHANISM": "PLAIN",
    "MIX_BRIDGE_KAFKA__SASL_USERNAME": "me",
}


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MIX_BRIDGE_SERVERS__LOCAL__TOKEN", "servers.local.token"),
        ("MIX_BRIDGE_SERVERS__LOCAL__HEADERS__X_KEY", "servers.local.headers.x-key"),
        ("MIX_BRIDGE_KAFKA__SASL_PASSWORD", "kafka.sasl_password"),
        ("MIX_BRIDGE_KAFKA__PROPERTIES__SASL_KERBEROS_KEYTAB", "kafka.properties.sasl.kerberos.keytab"),
        ("MIX_BRIDGE_HTTP__TOKEN", "http.token"),
    ],
)
def test_a_secret_in_quotes_is_used_as_it_is_with_a_warning(name: str, key: str, quote: str) -> None:
    """Which never contains it."""
    password = {} if name.endswith("PASSWORD") else {"MIX_BRIDGE_KAFKA__SASL_PASSWORD": "word"}
    found = load_all({}, {**LOCAL, **SASL, **password, name: f"{quote}hunter2{quote}"})
    (warning,) = quoted_secrets(found.settings)
    assert warning.key == key
    assert "begins and ends with a quote" in warning.message
    assert "hunter2" not in str(warning)
    assert f"warning: {warning}" in list(as_lines(found))


@pytest.mark.parametrize("value", ["'hunter2\"", "hunter2'", "'", "it's"])
def test_a_secret_with_other_quotes_is_no_warning(value: str) -> None:
    settings = loaded({**LOCAL, "MIX_BRIDGE_SERVERS__LOCAL__TOKEN": value})
    assert list(quoted_secrets(settings)) == []


def test_the_secret_in_a_file_is_looked_at_too(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("'hunter2'\n")
    for key in ("servers.local.token_file", "http.token_file"):
        settings = load({key: str(file), "servers.local.url": "http://localhost:8088"}, {})
        (warning,) = quoted_secrets(settings)
        assert warning.key in {"servers.local.token_file", "http.token"}


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIX_BRIDGE_SERVERS__LOCAL__URL", "http://localhost:8088"),
        ("MIX_BRIDGE_SERVERS__LOCAL__PROXY", "http://localhost:3128"),
        ("MIX_BRIDGE_SERVERS__LOCAL__SESSIONS", "a,b"),
        ("MIX_BRIDGE_SERVERS__LOCAL__STREAM_PATH", "/stream/{session}"),
        ("MIX_BRIDGE_NAMESPACE", "mix"),
        ("MIX_BRIDGE_INSTANCE", "one"),
        ("MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS", "kafka:9092"),
        ("MIX_BRIDGE_KAFKA__SASL_USERNAME", "me"),
        ("MIX_BRIDGE_TOPICS__EVENTS", "events"),
        ("MIX_BRIDGE_HTTP__HOST", "localhost"),
        ("MIX_BRIDGE_EVENTS__TYPE_PREFIX", "mix."),
        ("MIX_BRIDGE_SERVERS__LOCAL__CONNECT_TIMEOUT", "5s"),
    ],
)
def test_other_values_in_quotes_are_refused(name: str, value: str, quote: str) -> None:
    """One line, which names the key."""
    password = {"MIX_BRIDGE_KAFKA__SASL_PASSWORD": "word"}
    line = mistake({**LOCAL, **SASL, **password, name: f"{quote}{value}{quote}"})
    assert f"(from {name})" in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("servers.local.url", "http://localhost:8088'"),
        ("servers.local.url", "http://me:'word'@localhost"),
        ("servers.local.proxy", "http://local'host"),
        ("kafka.bootstrap_servers", "'kafka:9092"),
        ("kafka.bootstrap_servers", 'kafka:9092,ka"fka:9093'),
        ("servers.local.sessions", "'a,b'"),
        ("http.host", "'::1"),
    ],
)
def test_a_quote_within_an_address_is_refused(key: str, value: str) -> None:
    assert mistake(LOCAL, set={key: value}).startswith(f"{key}: ")


def test_a_text_of_the_server_may_be_in_quotes() -> None:
    """Some servers end a stream with the JSON text "[DONE]"."""
    settings = loaded({**LOCAL, "MIX_BRIDGE_SERVERS__LOCAL__END_AFTER": '"[DONE]"'})
    assert settings.servers["local"].end_after == '"[DONE]"'
