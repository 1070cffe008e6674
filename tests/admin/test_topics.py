"""``mix-bridge topics plan --acls``: the permissions."""

from __future__ import annotations

import pytest

from bridge.admin.topics import acl_commands
from bridge.settings import Settings, load

BEGIN = "kafka-acls.sh --bootstrap-server kafka:9092"
ADD = "--add --allow-principal User:mix-bridge"


def settings(more: dict[str, str]) -> Settings:
    return load({"kafka.bootstrap_servers": "kafka:9092", **more}, {})


def test_the_commands_grant_what_the_settings_need() -> None:
    """As in docs/security.md: each topic by its name, and Read only on the checkpoints."""
    write = "--operation Write --operation DescribeConfigs --operation Create"
    assert acl_commands(settings({})) == [
        f"{BEGIN} {ADD} {write} --topic mix.events --topic mix.dead-letters --topic mix.lifecycle",
        f"{BEGIN} {ADD} --operation Read {write} --topic mix.checkpoints",
        f"{BEGIN} {ADD} --operation Read --group mix.bridge",
    ]


@pytest.mark.parametrize(
    ("more", "has", "has_not"),
    [
        ({"topics.create": "false"}, "DescribeConfigs --topic mix.events", "Create"),
        (
            {"delivery.guarantee": "exactly_once", "namespace": "other"},
            "--operation Write --transactional-id other.bridge. --resource-pattern-type prefixed",
            "mix.events",
        ),
        ({"topics.routes": '[{"match": "tool_*", "topic": "tools"}]'}, "--topic tools", "--command-config"),
        (
            {
                "kafka.security_protocol": "sasl_ssl", "kafka.sasl_mechanism": "PLAIN",
                "kafka.sasl_username": "it's", "kafka.sasl_password": "hunter2",
            },
            "--command-config admin.properties --add --allow-principal 'User:it'\"'\"'s'",
            "hunter2",
        ),
    ],
)  # fmt: skip
def test_the_commands_follow_the_settings(more: dict[str, str], has: str, has_not: str) -> None:
    """Names are quoted for the shell, and no secret is among them."""
    text = "\n".join(acl_commands(settings(more)))
    assert has in text
    assert has_not not in text


def test_the_principal_can_be_given() -> None:
    """It wins over the user of the settings."""
    assert "--allow-principal User:CN=bridge" in acl_commands(settings({}), "User:CN=bridge")[0]
