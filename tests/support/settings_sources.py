"""Load settings from the sources of a test only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import EXIT_SETTINGS, SettingsError
from bridge.settings import Settings, load


def loaded(env: Mapping[str, str] | None = None, toml: Path | str | None = None, **options: Any) -> Settings:
    """Settings of an environment, a TOML file and options; ``set`` has the values of ``--set``."""
    overrides = options.pop("set", {})
    return load(overrides, env or {}, config=Path(toml) if toml else None, **options)


def mistakes(env: Mapping[str, str] | None = None, toml: Path | str | None = None, **options: Any) -> list[str]:
    """The lines of the error that loading raises."""
    with pytest.raises(SettingsError) as caught:
        loaded(env, toml, **options)
    assert caught.value.exit_code == EXIT_SETTINGS
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.mistakes), "one line per mistake"
    return lines


def mistake(env: Mapping[str, str] | None = None, toml: Path | str | None = None, **options: Any) -> str:
    """The only line of the error that loading raises."""
    lines = mistakes(env, toml, **options)
    assert len(lines) == 1, lines
    return lines[0]
