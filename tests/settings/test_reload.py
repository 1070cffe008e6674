"""What a reload changes in a running process, and what needs a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from bridge.settings import load_all
from bridge.settings.catalogue import values
from bridge.settings.loading import Loaded
from bridge.settings.reload import decide, read_again
from bridge.settings.rules import broken_rules

BASE: dict[str, Any] = {
    "kafka.bootstrap_servers": "kafka:9092",
    "kafka.security_protocol": "sasl_ssl",
    "kafka.sasl_mechanism": "PLAIN",
    "kafka.sasl_username": "bridge",
    "kafka.sasl_password": "first",
    "servers.local.url": "http://localhost:8088",
    "servers.local.token": "first",
    "http.token": "first",
}
HOT: dict[str, list[Any]] = {
    "log.level": ["info", "debug"],
    "kafka.sasl_password": ["first", "second"],
    "servers.local.token": ["first", "second"],
    "servers.local.headers.x-key": ["first", "second"],
    "kafka.properties.client.rack": ["first", "second"],
    "http.token": ["first", "second"],
}
COLD: dict[str, list[Any]] = {
    "log.format": ["json", "console"],
    "delivery.max_in_flight": [1000, 2000],
    "kafka.compression": ["lz4", "zstd"],
    "servers.local.max_sessions": [10, 20],
    "topics.events": ["a", "b"],
    "kafka.sasl_username": ["bridge", "other"],
    "servers.local.url": ["http://localhost:8088", "http://elsewhere:8088"],
    "servers.second.url": ["http://second:1", "http://second:2"],
    "events.skip": ["", "thinking"],
}


def loading(changes: dict[str, Any]) -> Loaded:
    return load_all(BASE | changes, {})


def by_path(loaded: Loaded) -> dict[tuple[str, ...], Any]:
    return dict(values(loaded.settings))


OPTIONS = {name: st.sampled_from(choices) for name, choices in (HOT | COLD).items()}
CHANGES = st.fixed_dictionaries({}, optional=OPTIONS)


@examples(max_examples=30, deadline=None)
@given(CHANGES, CHANGES)
def test_each_value_is_the_old_or_the_new_one_and_the_whole_is_valid(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Every difference is either applied or named, and a second reload finds only what is named."""
    old, new = loading(one), loading(other)
    found = decide(old, new)
    before, after, used = by_path(old), by_path(new), by_path(found.loaded)
    assert broken_rules(found.loaded.settings, set()) == []
    for path in before.keys() | after.keys():
        assert used.get(path) in (before.get(path), after.get(path)), path
    differing = {".".join(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    named = {*found.applied, *found.needs_restart}
    assert {each for each in differing if "second" not in each} == {each for each in named if "second" not in each}
    assert ("servers.second.url" in differing) == any(each.startswith("servers.second") for each in named)
    again = decide(found.loaded, new)
    assert (again.applied, again.needs_restart) == ((), found.needs_restart)
    assert (found.loaded.settings == new.settings) == (not found.needs_restart)


@examples(max_examples=10, deadline=None)
@given(CHANGES)
def test_nothing_changes_without_a_difference(changes: dict[str, Any]) -> None:
    """The same settings need neither."""
    loaded = loading(changes)
    found = decide(loaded, loading(changes))
    assert (found.applied, found.needs_restart, found.loaded.settings) == ((), (), loaded.settings)


@pytest.mark.parametrize("key", HOT)
def test_levels_and_secrets_take_effect(key: str) -> None:
    first, second = HOT[key]
    found = decide(loading({key: first}), loading({key: second}))
    assert (found.applied, found.needs_restart) == ((key,), ())


@pytest.mark.parametrize("key", COLD)
def test_all_other_keys_need_a_restart(key: str) -> None:
    """Each is named, and nothing changes."""
    first, second = COLD[key]
    old = loading({key: first})
    found = decide(old, loading({key: second}))
    assert (found.applied, found.needs_restart, found.loaded.settings) == ((), (key,), old.settings)


def test_a_server_that_is_added_or_removed_is_one_key() -> None:
    """Its token is not applied to nothing."""
    more = {"servers.second.url": "http://second:1", "servers.second.token": "t"}
    assert decide(loading({}), loading(more)).needs_restart == ("servers.second",)
    assert decide(loading(more), loading({})).needs_restart == ("servers.second",)


def test_a_credential_waits_for_the_key_that_says_where_it_is_sent() -> None:
    """A new password must not be sent for the old user, nor a new token to the old server."""
    old = loading({})
    new = loading({"kafka.sasl_username": "other", "kafka.sasl_password": "second", "log.level": "debug"})
    assert decide(old, new).needs_restart == ("kafka.sasl_password", "kafka.sasl_username")
    assert decide(old, new).applied == ("log.level",)
    moved = loading({"servers.local.url": "http://elsewhere:1", "servers.local.token": "second"})
    assert decide(old, moved).needs_restart == ("servers.local.token", "servers.local.url")


def test_a_file_with_other_contents_takes_effect_under_its_own_key(tmp_path: Path) -> None:
    """Of a secret and the file that holds it only the file's key is named."""
    file = tmp_path / "password"
    base = {key: value for key, value in BASE.items() if key != "kafka.sasl_password"}
    file.write_text("first\n")
    old = load_all({**base, "kafka.sasl_password_file": str(file)}, {})
    file.write_text("second\n")
    found = decide(old, load_all({**base, "kafka.sasl_password_file": str(file)}, {}))
    assert (found.applied, found.needs_restart) == (("kafka.sasl_password_file",), ())
    assert found.loaded.settings.kafka.sasl_password is not None
    assert found.loaded.settings.kafka.sasl_password.get_secret_value() == "second"


def test_turning_tls_of_the_endpoint_on_needs_a_restart_and_a_new_certificate_does_not(tmp_path: Path) -> None:
    """The listening socket speaks TLS or does not."""
    authority, file = trustme.CA(), tmp_path / "http.pem"
    with_tls = {"http.cert_file": str(file)}
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
    old = loading(with_tls)
    assert decide(loading({}), old).needs_restart == ("http.cert_file",)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
    assert decide(old, loading(with_tls)).applied == ("http.cert_file",)


# Files alone


def test_secrets_and_their_directory_are_read_again_without_the_other_sources(tmp_path: Path) -> None:
    """Other settings of the directory wait for a reload."""
    names = {"servers__local__headers__x_key": "first", "http__token": "first", "namespace": "first"}
    for name, text in names.items():
        (tmp_path / name).write_text(text)
    base = {key: value for key, value in BASE.items() if key != "http.token"}
    old = load_all(base, {}, secrets_dir=tmp_path)
    for name in names:
        (tmp_path / name).write_text("second")
    renewed = read_again(old)
    assert renewed.mistakes == ()
    assert decide(old, renewed.loaded).applied == ("http.token", "servers.local.headers.x-key")


def test_a_broken_file_keeps_its_former_contents_and_the_others_are_renewed(tmp_path: Path) -> None:
    """It is one mistake. An empty file is a broken one: perhaps it is being written just now."""
    password, token = tmp_path / "password", tmp_path / "token"
    password.write_text("first")
    token.write_text("first")
    base = {key: value for key, value in BASE.items() if key not in {"kafka.sasl_password", "servers.local.token"}}
    files = {"kafka.sasl_password_file": str(password), "servers.local.token_file": str(token)}
    old = load_all(base | files, {})
    password.write_text("")
    token.write_text("second")
    renewed = read_again(old)
    assert [each.key for each in renewed.mistakes] == ["kafka.sasl_password_file"]
    assert decide(old, renewed.loaded).applied == ("servers.local.token_file",)
    assert renewed.loaded.settings.kafka.sasl_password == old.settings.kafka.sasl_password
    password.unlink()
    assert [each.key for each in read_again(renewed.loaded).mistakes] == ["kafka.sasl_password_file"]


def test_a_certificate_waits_for_its_key(tmp_path: Path) -> None:
    """Two files cannot be replaced in one step: both keep their contents until they belong together."""
    authority = trustme.CA()
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(issued: trustme.LeafCert, *, with_key: bool) -> None:
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        if with_key:
            issued.private_key_pem.write_to_path(str(key))

    write(authority.issue_cert("localhost"), with_key=True)
    for changes in (
        {"http.cert_file": str(certificate), "http.key_file": str(key)},
        {"kafka.ssl_cert_file": str(certificate), "kafka.ssl_key_file": str(key)},
    ):
        old, issued = loading(changes), authority.issue_cert("localhost")
        write(issued, with_key=False)
        renewed = read_again(old)
        assert len(renewed.mistakes) == 1
        assert renewed.loaded.contents == old.contents
        write(issued, with_key=True)
        whole = read_again(renewed.loaded)
        assert whole.mistakes == ()
        assert decide(old, whole.loaded).applied == tuple(sorted(changes))


def test_a_server_that_waits_for_a_restart_does_not_stop_the_look_at_the_other_secrets(tmp_path: Path) -> None:
    """It comes with a file of its own in the secrets directory, and is in no tree until then."""
    (tmp_path / "http__token").write_text("first")
    base = {key: value for key, value in BASE.items() if key != "http.token"}
    old = load_all(base, {}, secrets_dir=tmp_path)
    (tmp_path / "servers__second__token").write_text("first")
    new = load_all(base | {"servers.second.url": "http://second:1"}, {}, secrets_dir=tmp_path)
    found = decide(old, new)
    assert found.needs_restart == ("servers.second",)
    (tmp_path / "http__token").write_text("second")
    renewed = read_again(found.loaded)
    assert renewed.mistakes == ()
    assert decide(found.loaded, renewed.loaded).applied == ("http.token",)


def test_a_secret_of_an_unknown_server_is_one_mistake(tmp_path: Path) -> None:
    """The other files are read nevertheless."""
    names = ("servers__second__token", "servers__local__token")
    for name in names:
        (tmp_path / name).write_text("second")
    files = {tuple(name.split("__")): tmp_path / name for name in names}
    renewed = read_again(replace(loading({}), secret_files=files))
    assert [each.key for each in renewed.mistakes] == ["servers.second.token"]
    token = renewed.loaded.settings.servers["local"].token
    assert token is not None
    assert token.get_secret_value() == "second"


def test_files_of_waiting_tables_are_left_out_of_the_look(tmp_path: Path) -> None:
    """Named files and those of the secrets directory."""
    password, secrets = tmp_path / "password", tmp_path / "secrets"
    token = secrets / "servers__local__token"
    secrets.mkdir()
    base = {key: value for key, value in BASE.items() if key not in {"kafka.sasl_password", "servers.local.token"}}
    base["kafka.sasl_password_file"] = str(password)
    password.write_text("first")
    token.write_text("first")
    old = load_all(base, {}, secrets_dir=secrets)
    password.write_text("second")
    token.write_text("second")
    moved = {"kafka.sasl_username": "other", "servers.local.url": "http://elsewhere:1"}
    found = decide(old, load_all(base | moved, {}, secrets_dir=secrets))
    assert found.waiting == {("kafka",), ("servers", "local")}
    renewed = read_again(found.loaded, found.waiting)
    assert (renewed.mistakes, renewed.loaded.settings) == ((), old.settings)
    assert renewed.loaded.contents == old.contents
