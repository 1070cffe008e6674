"""Secrets: read from files, never shown, and read again at every connect."""

import json
import logging

import pytest
import trustme

from bridge.cli.logs import secrets_of
from bridge.settings import load_all
from bridge.settings.show import as_document, as_lines
from tests.support.settings_sources import loaded, mistake, mistakes

LOCAL = {"servers.local.url": "http://localhost:8088"}
SASL = {"kafka.security_protocol": "sasl_ssl", "kafka.sasl_mechanism": "PLAIN", "kafka.sasl_username": "u"}

TWINS = [
    ("servers.local.token", LOCAL),
    ("kafka.sasl_password", SASL),
    ("kafka.ssl_key_password", {"kafka.security_protocol": "ssl"}),
    ("http.token", {}),
]

SECRETS = {
    "servers.local.url": "http://user:hunter2-url@localhost:8088",
    "servers.local.proxy": "http://user:hunter2-proxy@proxy:3128",
    "servers.local.headers.x-api-key": "hunter2-header",
    "servers.other.url": "http://other",
    "servers.other.token": "hunter2-token",
    "kafka.sasl_password": "hunter2-password",
    "kafka.ssl_key_password": "hunter2-key",
    "kafka.properties.sasl.oauthbearer.client.secret": "hunter2-property",
    "http.token": "hunter2-http",
    **SASL,
}


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    return file


@pytest.mark.parametrize(("key", "others"), TWINS[1:])
def test_a_secret_is_read_from_its_file_without_the_newline(secret_file, key, others):
    settings = loaded(set={f"{key}_file": str(secret_file), **others})
    group, name = key.split(".")
    assert getattr(getattr(settings, group), name).get_secret_value() == "s3cret"


@pytest.mark.parametrize(("key", "others"), TWINS)
def test_a_secret_and_its_file_exclude_each_other(secret_file, key, others):
    line = mistake({}, set={key: "hunter2", f"{key}_file": str(secret_file), **others})
    assert line == f"{key}_file: {key} is given too; allowed: one of the two"


def test_a_secret_and_its_file_exclude_each_other_across_sources(secret_file):
    line = mistake({"MIX_BRIDGE_HTTP__TOKEN": "hunter2"}, set={"http.token_file": str(secret_file)})
    assert line.startswith("http.token_file: http.token is given too")


@pytest.mark.parametrize(("key", "others"), TWINS)
def test_a_file_that_cannot_be_read_is_named_with_its_key(tmp_path, key, others):
    path = tmp_path / "missing"
    line = mistake(set={f"{key}_file": str(path), **others})
    assert line == f"{key}_file: cannot read {str(path)!r}: No such file or directory"
    assert mistake(set={f"{key}_file": str(tmp_path), **others}).endswith("Is a directory")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff"])
def test_a_file_without_usable_text_is_an_error(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    assert mistake(set={"http.token_file": str(file)}).startswith(f"http.token_file: cannot read {str(file)!r}: ")


def test_the_text_of_a_file_is_checked_but_never_shown(tmp_path):
    file = tmp_path / "token"
    file.write_text("hunter2 and more\n")
    line = mistake(set={**LOCAL, "servers.local.token_file": str(file)})
    assert line == f"servers.local.token_file: the text in {str(file)!r} (not shown) has a space"


def test_the_token_of_a_server_is_read_again_at_every_use(secret_file):
    server = loaded(set={**LOCAL, "servers.local.token_file": str(secret_file)}).servers["local"]
    assert (server.token, server.token_file) == (None, secret_file)
    assert server.bearer() == "s3cret"
    secret_file.write_text("renewed\r\n")
    assert server.bearer() == "renewed"
    secret_file.unlink()
    with pytest.raises(OSError, match="No such file"):
        server.bearer()


def test_a_token_of_a_server_is_optional():
    assert loaded(set={**LOCAL, "servers.local.token": "t"}).servers["local"].bearer() == "t"
    assert loaded(set=LOCAL).servers["local"].bearer() is None


def test_a_server_may_use_the_certificates_of_its_own_authority(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "none.pem").write_text("not a certificate")
    secure = {"servers.local.url": "https://localhost"}
    assert loaded(set={**secure, "servers.local.ca_file": str(tmp_path / "ca.pem")}).servers["local"].ca_file
    assert mistake(set={**secure, "servers.local.ca_file": str(tmp_path / "none.pem")}).startswith(
        "servers.local.ca_file: "
    )
    assert "cannot read" in mistake(set={**secure, "servers.local.ca_file": str(tmp_path / "missing.pem")})


def test_one_file_may_contain_the_client_certificate_and_its_key(tmp_path):
    both, certificate = tmp_path / "both.pem", tmp_path / "certificate.pem"
    made = trustme.CA().issue_cert("client")
    made.private_key_and_cert_chain_pem.write_to_path(both)
    made.cert_chain_pems[0].write_to_path(certificate)
    secure = {"servers.local.url": "https://localhost"}
    assert loaded(set={**secure, "servers.local.client_cert_file": str(both)}).servers["local"].client_cert_file
    line = mistake(set={**secure, "servers.local.client_cert_file": str(certificate)})
    assert line.startswith("servers.local.client_cert_file: cannot use")


def test_no_form_of_the_settings_shows_a_secret(caplog, monkeypatch):
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    with caplog.at_level(logging.DEBUG):
        result = load_all(SECRETS, {})
    settings = result.settings
    forms = [
        repr(settings),
        str(settings),
        repr(settings.servers["local"].url),
        str(settings.servers["local"].proxy),
        str(settings.model_dump()),
        settings.model_dump_json(),
        json.dumps(as_document(settings)),
        "\n".join(as_lines(result)),
        caplog.text,
    ]
    for form in forms:
        assert "hunter2" not in form
    assert settings.servers["local"].url.get_secret_value() == "http://user:hunter2-url@localhost:8088"


def test_no_error_shows_a_secret():
    broken = {key: f"{value}\n" for key, value in SECRETS.items() if "hunter2" in value}
    broken |= {"servers.local.tokn": "hunter2", "http": '{"token": "hunter2', "kafka.properties.acks": "hunter2"}
    lines = mistakes(set=SECRETS | broken)
    assert len(lines) >= len(broken)
    assert "hunter2" not in "\n".join(lines)


@pytest.mark.parametrize("wrong", [["hunter2"], {"a": "hunter2"}, [["hunter2"]]])
@pytest.mark.parametrize("key", ["servers.local.token", "servers.local.url", "http.token", "kafka.sasl_password"])
def test_a_secret_of_a_wrong_type_is_not_shown_either(key, wrong):
    assert "hunter2" not in "\n".join(mistakes(set=LOCAL | SASL | {key: wrong}))


def test_settings_show_the_origin_of_each_value():
    result = load_all({"http.token": "x"}, {"MIX_BRIDGE_KAFKA__COMPRESSION": "gzip"}, servers={"local": "http://u:p@h"})
    lines = list(as_lines(result))
    assert "kafka.compression = gzip  (from MIX_BRIDGE_KAFKA__COMPRESSION)" in lines
    assert "http.token = **********  (from --set)" in lines
    assert "servers.local.url = http://**********@h  (from --server)" in lines
    assert "delivery.checkpoint_interval = 1s" in lines
    assert "topics.lifecycle = mix.lifecycle" in lines
    assert "instance = none" in lines


def test_only_secret_properties_are_masked():
    """A word of another property would otherwise be masked in every line that contains it."""
    url = "https://user:hunter2@login.example.org/token"
    properties = {
        "debug": "broker,topic",
        "linger.ms": "7",
        "sasl.oauthbearer.token.endpoint.url": url,
        "sasl.oauthbearer.client.secret": "hunter2-secret",
        "x": "hunter2-unknown",
    }
    given = {f"kafka.properties.{name}": value for name, value in properties.items()}
    settings = loaded(set={**SASL, "kafka.sasl_password": "p", **given})
    assert {"hunter2", "hunter2-secret"} <= set(secrets_of(settings))
    assert not {"broker,topic", "7", url} & set(secrets_of(settings))
    shown = as_document(settings)["kafka"]["properties"]
    assert shown["debug"] == "broker,topic"
    assert shown["sasl.oauthbearer.token.endpoint.url"] == "https://**********@login.example.org/token"
    assert shown["sasl.oauthbearer.client.secret"] == shown["x"] == "**********"
