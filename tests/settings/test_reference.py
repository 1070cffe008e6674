"""Reference, examples and schema are derived from the model: they are complete and valid."""

import json
import re
import tomllib
from pathlib import Path

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
    [("bridge.example.toml", as_toml), ("bridge.example.env", as_env), ("settings.md", as_markdown)],
)
def test_the_files_under_config_are_up_to_date(name, write):
    assert (CONFIG / name).read_text() == write(), f"run: mix-bridge settings reference > config/{name}"


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
