"""The contract as documents: AsyncAPI, JSON Schemas, and the ids of a schema registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, dual_schema_id_deserializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from jsonschema import Draft7Validator, Draft202012Validator
from structlog.testing import capture_logs
from typer.testing import CliRunner

from bridge.admin.contract import check, document, export, lifecycle_schema, register
from bridge.cli.app import app
from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.stream.event import Event
from bridge.daemon.schema_ids import SchemaIds
from bridge.errors import EXIT_FOUND, EXIT_OK, SettingsError, Unreachable
from bridge.kafka.schema_registry import SchemaRegistry
from bridge.mix.events import DIALECT, EVENTS, event_schemas, schema_id
from bridge.mix.rules import rules_of
from bridge.settings import Settings, load
from bridge.settings.addresses import Address
from bridge.simulator.scripts.agent_script import AgentScript
from tests.consumer.records import NOW, lifecycle, record
from tests.fakes.schema_registry import Registry, serving
from tests.support.npm import fetch
from tests.support.repository import REPOSITORY

HERE = REPOSITORY / "tests/support/asyncapi"


def settings(**more: Any) -> Settings:
    given = {"servers.local.url": "http://localhost:8088", "kafka.bootstrap_servers": "k1:9092,k2:9092"}
    return load(given | {key.replace("__", "."): value for key, value in more.items()}, {})


# AsyncAPI


@pytest.fixture(scope="module")
def published() -> Draft7Validator:
    """AsyncAPI's own schema of version 3.1, with that of the Kafka binding."""
    file = fetch(HERE) / "@asyncapi/specs/schemas/3.1.0.json"
    return Draft7Validator(json.loads(file.read_text()))


@pytest.mark.parametrize("format_", ["structured", "binary", "raw"])
def test_the_document_is_valid_asyncapi(published: Draft7Validator, format_: str) -> None:
    """With routes and a TLS broker too."""
    routes = '[{"match": "tool_*", "topic": "mix.tools"}, {"match": "x", "topic": "mix.events"}]'
    made = document(settings(events__format=format_, topics__routes=routes, kafka__security_protocol="ssl"))
    assert made["asyncapi"] == "3.1.0"
    assert [error.message for error in published.iter_errors(made)] == []
    assert {each["address"] for each in made["channels"].values()} == {
        "mix.events",
        "mix.tools",
        "mix.dead-letters",
        "mix.lifecycle",
        "mix.checkpoints",
    }
    assert [each["host"] for each in made["servers"].values()] == ["k1:9092", "k2:9092"]
    for reference in _references(made):
        assert _resolved(made, reference) is not None


def test_a_wrong_document_is_refused(published: Draft7Validator) -> None:
    """Otherwise the test above would prove nothing: here the Kafka binding has a wrong type."""
    made = document(settings())
    made["channels"]["events"]["bindings"]["kafka"]["topic"] = 5
    assert list(published.iter_errors(made))


@pytest.mark.parametrize("format_", ["structured", "binary"])
def test_records_fit_their_messages(format_: str) -> None:
    """Value and headers, as the document describes them."""
    made = document(settings(events__format=format_))
    record_ = record(format_=format_)
    message = made["components"]["messages"]["content"]
    _validate(made, message["payload"], json.loads(record_.value))
    _validate(made, message["headers"], {name: text.decode() for name, text in record_.headers})
    gap = made["components"]["messages"]["lifecycle"]
    _validate(made, gap["payload"], json.loads(lifecycle().value))


def _validate(made: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    whole = {**schema, "components": made["components"]}
    assert [error.message for error in Draft202012Validator(whole).iter_errors(value)] == []


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        for each in value.values():
            yield from _references(each)


def _resolved(made: dict[str, Any], reference: str) -> object:
    found: Any = made
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_the_commands_print_json(tmp_path: Path) -> None:
    """`asyncapi` the document, `schemas export` the files."""
    done = CliRunner().invoke(app, ["asyncapi", "--set", "namespace=other"])
    assert json.loads(done.stdout)["channels"]["events"]["address"] == "other.events"
    done = CliRunner().invoke(app, ["schemas", "export", str(tmp_path / "new"), "--json"])
    assert {Path(each).stem for each in json.loads(done.stdout)["written"]} == {*EVENTS, "lifecycle"}


# JSON Schemas


def test_the_exported_schemas_are_valid_2020_12(tmp_path: Path) -> None:
    schemas = [json.loads(path.read_text()) for path in export(tmp_path)]
    for schema in schemas:
        Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == DIALECT
    assert len({schema["$id"] for schema in schemas}) == len(schemas) == len(EVENTS) + 1
    assert json.loads((tmp_path / "content.json").read_text())["$id"] == schema_id("content")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot write to"):
        export(tmp_path / "file" / "x")


def test_the_schemas_accept_what_the_bridge_accepts() -> None:
    """A whole script of events, and the data of a lifecycle record."""
    schemas = event_schemas()
    for sent in islice(AgentScript(1, "amber", lambda: 0).events(), 200):
        assert not list(Draft202012Validator(schemas[sent.name]).iter_errors(json.loads(sent.data)))
    assert list(Draft202012Validator(schemas["content"]).iter_errors({"type": "content"}))
    data = json.loads(lifecycle().value)["data"]
    assert not list(Draft202012Validator(lifecycle_schema()).iter_errors(data))


# Schema registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving(Registry()) as served:
        yield served


def with_registry(url: str, **more: Any) -> Settings:
    """Settings with a registry, and a format in which values are the data."""
    return settings(schemas__registry_url=url, **({"events__format": "binary"} | more))


@pytest.mark.parametrize("with_guids", [True, False])
def test_confluents_deserializer_reads_our_record_by_its_header(registry: Registry, *, with_guids: bool) -> None:
    """By GUID, or by id with an older registry; the data is what the server sent."""
    registry.with_guids = with_guids
    chosen = with_registry(registry.url)
    assert not [each for each in register(chosen) if each.error]
    ids = SchemaIds(chosen)
    ids.start()
    data = '{"type": "content",  "content":"Hi"}'
    made = Encoder(rules_of("local", chosen, ids.found), SessionKey("local", "a")).encode(
        Event("content", data, "7", "7", NOW), 5, 6
    )
    assert made is not None
    assert made.value == data.encode()
    client = SchemaRegistryClient({"url": registry.url})
    read = JSONDeserializer(
        None, schema_registry_client=client, conf={"schema.id.deserializer": dual_schema_id_deserializer}
    )
    context = SerializationContext("mix.events", MessageField.VALUE, list(made.headers))
    assert read(made.value, context) == {"type": "content", "content": "Hi"}
    assert registry.requests[-1].startswith("GET /schemas/guids/" if with_guids else "GET /schemas/ids/")


def test_check_reports_what_is_not_registered(registry: Registry) -> None:
    """The subject is the CloudEvents type; a second registration changes nothing."""
    chosen = with_registry(registry.url, events__type_prefix="acme.")
    assert {each.error for each in check(chosen)} == {"not registered"}
    first = register(chosen)
    assert [each.name for each in first] == [f"acme.{name}" for name in EVENTS]
    assert register(chosen) == first == check(chosen)


def test_the_commands_exit_with_what_they_found(registry: Registry) -> None:
    """A refusal of one schema does not hide the others."""
    arguments = ["--set", f"schemas.registry_url={registry.url}", "--json"]
    registry.refused = "mix.error"
    done = CliRunner().invoke(app, ["schemas", "register", *arguments])
    failed = [each for each in json.loads(done.stdout)["subjects"] if each["error"]]
    assert (done.exit_code, [each["subject"] for each in failed]) == (EXIT_FOUND, ["mix.error"])
    assert "incompatible" in failed[0]["error"]
    registry.refused = ""
    assert CliRunner().invoke(app, ["schemas", "check", *arguments]).exit_code == EXIT_FOUND
    assert CliRunner().invoke(app, ["schemas", "register", *arguments[:2]]).exit_code == EXIT_OK
    assert CliRunner().invoke(app, ["schemas", "check", *arguments[:2]]).exit_code == EXIT_OK


def test_a_registry_that_is_away_is_unreachable_and_shows_no_password() -> None:
    """69 in the commands; the credentials of the URL stay secret."""
    away = SchemaRegistry(Address.parse("http://user:secret@127.0.0.1:1"))
    with pytest.raises(Unreachable) as error:
        away.header("mix.content", "{}")
    assert "http://127.0.0.1:1" in str(error.value)
    assert "secret" not in str(error.value)


def test_without_a_registry_the_commands_name_the_setting() -> None:
    with pytest.raises(SettingsError, match=r"schemas\.registry_url"):
        check(settings())


def test_a_registry_that_is_away_at_start_is_a_warning() -> None:
    """The start continues without ids, and the registry is asked again later."""
    ids = SchemaIds(with_registry("http://127.0.0.1:1"))
    with capture_logs() as lines:
        ids.start()
    ids.stop()
    assert ids.found == {}
    assert [each["event"] for each in lines] == ["no schema ids: records are written without them"]


def test_schemas_that_are_not_registered_are_a_warning(registry: Registry) -> None:
    ids = SchemaIds(with_registry(registry.url))
    with capture_logs() as lines:
        ids.start()
    assert ids.found == {}
    assert "schemas register" in lines[0]["event"]


def test_structured_records_get_no_id(registry: Registry) -> None:
    """Their value is the envelope, not the data."""
    with capture_logs() as lines:
        ids = SchemaIds(with_registry(registry.url, events__format="structured"))
        ids.start()
    assert (ids.found, registry.requests) == ({}, [])
    assert lines[0]["setting"] == "events.format"


def test_a_dataschema_is_only_in_records_with_a_schema() -> None:
    rules = replace(rules_of("local", settings(schemas__dataschema="urn:x:{event}")), format="structured")
    assert (rules.dataschema_of("content"), rules.dataschema_of("novelty")) == ("urn:x:content", "")
