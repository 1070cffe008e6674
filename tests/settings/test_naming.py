"""Names in Kafka that are derived from the settings."""

from __future__ import annotations

from bridge.settings import Settings
from bridge.settings.naming import (
    group_of,
    servers_fingerprint,
    settings_sha256,
    transactional_id,
    transactional_ids_of,
    trial_transactional_id,
)
from tests.support.settings_sources import loaded


def _named(**urls: str) -> Settings:
    return loaded(set={f"servers.{name}.url": url for name, url in urls.items()})


def test_all_names_begin_with_the_namespace() -> None:
    """One ACL with a prefix grants all transactional ids, including the one for permission checks."""
    assert group_of("mix") == "mix.bridge"
    assert transactional_id("mix", 7) == "mix.bridge.7"
    assert all(
        name.startswith(transactional_ids_of("mix")) for name in (transactional_id("mix", 0), "mix.bridge.check")
    )
    assert trial_transactional_id("mix") == "mix.bridge.check"


def test_the_same_servers_have_the_same_fingerprint() -> None:
    """Order, credentials and a slash at the end do not matter; names and addresses do."""
    ours = servers_fingerprint(_named(a="http://one", b="http://two/mix"))
    assert ours == servers_fingerprint(_named(b="http://me:secret@two/mix/", a="http://one/"))
    assert ours != servers_fingerprint(_named(a="http://one"))
    assert ours != servers_fingerprint(_named(a="http://one", c="http://two/mix"))
    assert ours != servers_fingerprint(_named(a="http://one", b="http://two"))


def test_replicas_with_the_same_settings_have_the_same_digest() -> None:
    """What concerns one process alone does not matter, nor do credentials, which must not be in a digest."""
    ours = loaded(set={"servers.a.url": "http://one", "servers.a.token": "one"})
    own = {"instance": "b", "http.port": "9000", "log.level": "debug", "servers.a.token": "two"}
    assert settings_sha256(loaded(set={"servers.a.url": "http://one", **own})) == settings_sha256(ours)
    assert settings_sha256(_named(a="http://one")) != settings_sha256(ours)
    different = loaded(set={"servers.a.url": "http://one", "servers.a.token": "one", "events.skip": "plan"})
    assert settings_sha256(different) != settings_sha256(ours)
