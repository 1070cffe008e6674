"""Examples of settings, JSON and Python are valid, and the settings that pages name exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import WRITTEN, Block, blocks, inline_code, name
from tests.support.process import MIX_BRIDGE, run_to_end

# Names that look like settings: keys of /api/status, and properties of Kafka's client or brokers.
NOT_SETTINGS = re.compile(r"topics\.<name>.*|log\.connection\.close")
# Variables that are not settings: the settings file, the effort of random tests, the scale of timeouts.
NOT_SETTINGS_VARIABLES = {"MIX_BRIDGE_CONFIG", "TEST_EFFORT"}


def mix_bridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command without settings from this environment."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("MIX_BRIDGE_")}
    return run_to_end([*MIX_BRIDGE, *arguments], variables)


@cache
def reference() -> list[dict[str, str]]:
    """Every setting, as the command lists it."""
    settings: list[dict[str, str]] = json.loads(mix_bridge("settings", "reference", "--json").stdout)["settings"]
    return settings


def named_keys(page: Path) -> set[str]:
    """What a page has in backticks that begins like a setting: ``kafka.compression``, ``--set topics.shards=16``."""
    groups = {setting["key"].partition(".")[0] for setting in reference() if "." in setting["key"]}
    pattern = re.compile(rf"(?:--set )?((?:{'|'.join(groups)})(?:\.[\w<>-]+)+)(?: ?= ?.*)?")
    return {match.group(1) for code in inline_code(page) if (match := pattern.fullmatch(code))}


def is_known(key: str) -> bool:
    """Whether a key, or a table of keys, is in the reference: a name of the user's own stands for ``<name>``."""
    known = [setting["key"] for setting in reference()]
    patterns = (re.escape(each).replace("<name>", "[^.]+") for each in known)
    return any(each.startswith(f"{key}.") for each in known) or any(re.fullmatch(each, key) for each in patterns)


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_the_settings_of_a_page_exist(page: Path) -> None:
    """Each one is in ``settings reference``."""
    assert {key for key in named_keys(page) if not is_known(key) and not NOT_SETTINGS.fullmatch(key)} == set()


def test_settings_are_recognised() -> None:
    """Otherwise the test above would pass without any."""
    named = {key for page in WRITTEN for key in named_keys(page)}
    assert named >= {"delivery.guarantee", "servers.<name>.max_sessions", "topics.shards", "events.invalid"}
    assert not is_known("topics.shard")


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_the_variables_of_a_page_exist(page: Path) -> None:
    """Each one is in ``settings reference``, with a name of the user's own for NAME."""
    named = set(re.findall(r"\bMIX_BRIDGE_[A-Z0-9_]+", page.read_text())) - NOT_SETTINGS_VARIABLES
    known = [re.sub("<[A-Z]+>", "[A-Z0-9_]+", setting["variable"]) for setting in reference()]
    assert [name for name in named if not any(re.fullmatch(pattern, name) for pattern in known)] == []


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_a_toml_block_is_a_file_of_settings(block: Block, tmp_path: Path) -> None:
    """The command accepts it; secrets are in a file that exists here."""
    secret = tmp_path / "secret"
    secret.write_text("token\n")
    file = tmp_path / "bridge.toml"
    file.write_text(re.sub(r'"/[^"]*/[^"]*token[^"]*"', f'"{secret}"', block.text))
    done = mix_bridge("settings", "show", "--config", str(file))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_a_json_block_is_json(block: Block) -> None:
    """One document."""
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_a_python_block_compiles(block: Block) -> None:
    """The README's consumer is also run, in the integration tests."""
    compile(block.text, str(block), "exec")
