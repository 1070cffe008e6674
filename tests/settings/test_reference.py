"""Reference, examples and schema are derived from the model: they are complete and valid."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from bridge.errors import SettingsError
from bridge.settings.catalogue import all_keys, variable
from bridge.settings.describe import shown
from bridge.settings.reference import as_env, as_json, as_markdown, as_schema, as_toml
from tests.support.settings_sources import loaded

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("bridge.example.toml", as_toml),
        ("bridge.example.env", as_env),
        ("settings.md", as_markdown),
        ("settings.schema.json", lambda: json.dumps(as_schema(), indent=2) + "\n"),
    ],
)
def test_the_files_under_config_are_up_to_date(name, write):
    assert (CONFIG / name).read_text() == write(), f"run: make docs, or mix-bridge settings reference > config/{name}"


def test_the_examples_are_valid():
    env = dict(line.split("=", 1) for line in as_env().splitlines() if line and not line.startswith("#"))
    from_env, from_toml = loaded(env, to_run=True), loaded(toml=CONFIG / "bridge.example.toml", to_run=True)
    assert from_env == from_toml
    assert from_env.servers["local"].url.public == "http://localhost:8088"


def test_every_line_of_the_environment_example_is_valid():
    for line in as_env().splitlines():
        match = re.match(r"# (MIX_BRIDGE_\w+)=(.*)$", line)
        if match:
            _assert_allowed({match[1]: match[2], "MIX_BRIDGE_SERVERS__LOCAL__URL": "http://h"})


def test_every_line_of_the_toml_example_is_valid(tmp_path):
    table = ""
    for line in as_toml().splitlines():
        text = line.removeprefix("# ")
        if re.fullmatch(r"\[[a-z.]+\]", text):
            table = text
        elif re.match(r'# ("[a-z.-]+"|[a-z_]+) = ', line):
            file = tmp_path / "one.toml"
            file.write_text(f'{"" if table else text}\n[servers.local]\nurl = "http://h"\n')
            if table:
                file.write_text(f"{table}\n{text}\n" + ('url = "http://h"' if table == "[servers.local]" else ""))
            tomllib.loads(file.read_text())
            _assert_allowed({"MIX_BRIDGE_SERVERS__LOCAL__URL": "http://h"}, file)


def _assert_allowed(env: dict[str, str], toml: Path | None = None) -> None:
    """Assert that there is no unknown key and no wrong value; ignore rules between keys, and missing files."""
    between = ("requires ", "needs ", "cannot read", "is missing for")
    try:
        loaded(env, toml)
    except SettingsError as error:
        wrong = [line for line in str(error).splitlines() if not any(part in line for part in between)]
        assert wrong == []


def test_every_key_is_in_every_form():
    forms = {"markdown": as_markdown(), "toml": as_toml(), "env": as_env()}
    document = {entry["key"]: entry for entry in json.loads(as_json())["settings"]}
    for key in all_keys():
        assert f"`{key.dotted}`" in forms["markdown"]
        assert key.dotted in document
        assert key.description in forms["toml"]
        if not key.open:
            path = tuple("local" if segment == "*" else segment for segment in key.path)
            assert f"{variable(path)}=" in forms["env"]


def test_every_default_is_an_allowed_value():
    for key in all_keys():
        if not key.required and key.default not in (None, "", (), {}):
            assert TypeAdapter(key.annotation).validate_python(shown(key.annotation, key.default)) == key.default


def test_the_schema_accepts_the_example_and_refuses_misspelt_keys():
    schema = as_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    example = tomllib.loads(as_toml())
    validator.validate(example)
    refused: list[dict[str, object]] = [
        {"kafka": {"compresion": "lz4"}},
        {"http": {"port": "x"}},
        {"delivery": {"guarantee": "at_most_once"}},
        {"topics": {"routes": [{}]}},
    ]
    for wrong in refused:
        assert list(validator.iter_errors(wrong))
    for right in (
        {"http": {"port": "none"}},
        {"instance": "bridge-0"},
        {"delivery": {"guarantee": "exactly_once", "transaction_interval": "50ms"}},
        {"start_timeout": "10s"},
        {"start_timeout": 5},
        {"events": {"skip": "a,b"}},
    ):
        validator.validate(right)


def test_the_defaults_of_the_schema_are_those_that_people_write():
    """Each is accepted by the schema itself, and means the default of the model."""
    schema = as_schema()
    delivery = schema["$defs"]["DeliverySettings"]["properties"]
    assert delivery["checkpoint_interval"]["default"] == "1s"
    assert delivery["max_buffer_bytes"]["default"] == "128MiB"
    for name, table in [("", schema), *schema["$defs"].items()]:
        for key, described in table.get("properties", {}).items():
            if "default" in described:
                one = {**described, "$defs": schema["$defs"]}
                assert list(jsonschema.Draft202012Validator(one).iter_errors(described["default"])) == [], (name, key)


def test_every_description_of_the_schema_stands_alone():
    """An editor shows nothing else: each says what is allowed, on one line."""
    texts = {entry["description"] for entry in _all_properties(as_schema())}
    for key in all_keys():
        text = [each for each in texts if each.startswith(" ".join(key.description.split()))]
        assert text, key.dotted
        assert key.open or all("allowed: " in each for each in text), key.dotted
    assert not [text for text in texts if "\n" in text]


def _all_properties(schema: dict[str, Any]) -> list[dict[str, Any]]:
    tables = [schema, *schema["$defs"].values()]
    return [each for table in tables for each in table.get("properties", {}).values() if "description" in each]
