"""The sources: options, environment, secrets directory, TOML file. pydantic-settings merges them.

No value is decoded: they stay texts until the whole tree is validated, so that all mistakes are reported
together and no secret is quoted.
Names are resolved here, because the library skips unknown ones without a message. Its source of secrets files is not
used: it also strips spaces of secrets, and skips files that are links to another directory.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import SecretStr
from pydantic_settings import TomlConfigSettingsSource

from bridge.settings.catalogue import PREFIX, Place, Unknown, dotted, place_at, place_of_variable
from bridge.settings.model import Settings
from bridge.settings.origins import SourceValues
from bridge.settings.values import as_text, json_value, read_secret

CONFIG_VARIABLE = "MIX_BRIDGE_CONFIG"
SECRETS_VARIABLE = "CREDENTIALS_DIRECTORY"

_OF_A_SERVICE = re.compile(
    f"{PREFIX}(.*_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes injects into each pod for each Service whose name begins with ``mix-bridge``."""
_PORT_OF_A_SERVICE = re.compile(f"{PREFIX}(.*_)?PORT")
_ADDRESS_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://")


class TomlFile(TomlConfigSettingsSource):
    """The TOML file, which the library would skip if it does not exist or is a pipe."""

    def _read_files(self, files: Any, deep_merge: bool = False) -> dict[str, Any]:  # noqa: ANN401, ARG002, FBT001, FBT002 - the signature is the library's
        return self._read_file(files)


class Named(NamedTuple):
    """The name of an option, variable or file, its segments, and the origin to report."""

    name: str
    segments: tuple[str, ...]
    origin: str


def option_values(overrides: Mapping[str, Any], origins: Mapping[str, str]) -> SourceValues:
    """The options of the command line: values or tables by dotted key."""
    values = SourceValues()
    for key in sorted(overrides, key=lambda key: key.count(".")):
        _give(values, Named(key, tuple(key.split(".")), origins.get(key, "--set")), place_at, overrides[key])
    return values


def environment_values(environ: Mapping[str, str]) -> SourceValues:
    """The ``MIX_BRIDGE_`` variables."""
    values = SourceValues()
    for name in _tables_first(name for name in environ if name.startswith(PREFIX)):
        named = Named(name, tuple(name.removeprefix(PREFIX).lower().split("__")), name)
        if name != name.upper():
            values.unknown(*named)
        elif name == CONFIG_VARIABLE or _is_of_a_service(named, environ[name]):
            continue
        elif environ[name]:
            _give(values, named, place_of_variable, environ[name])
        elif _place(values, named, place_of_variable) is not None:
            values.empty.append(name)  # as `MIX_BRIDGE_INSTANCE=${NAME:-}` gives
    return values


def secret_values(directory: FilePath, named_by: str, of_others: Collection[str] | None = None) -> SourceValues:
    """The files of the secrets directory, named like ``servers__local__token``.

    Hidden files and directories are skipped: Kubernetes keeps its ``..data`` there. `of_others` is given for a
    directory that also serves others: files with these (normal) paths are skipped, and files whose names do not look
    like a key.
    """
    values = SourceValues()
    try:
        names = _tables_first(file.name for file in directory.iterdir())
    except OSError as error:
        values.cannot_read(named_by, f"cannot read {directory}: {error.strerror}")
        return values
    for file in [directory / name for name in names if not name.startswith(".")]:
        # os.path, because Path.is_dir raises where the directory may be listed but not entered
        if not os.path.isdir(file) and not _is_of_others(file, of_others):  # noqa: PTH112
            _read_file(values, file)
    return values


def toml_values(file: FilePath, named_by: str) -> SourceValues:
    """The TOML file."""
    values = SourceValues({(): str(file)})
    try:
        values.add(TomlFile(Settings, file)())
    except OSError as error:
        values.cannot_read(named_by, f"cannot read {file}: {error.strerror}")
    except UnicodeDecodeError:
        values.cannot_read(named_by, f"{file} is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        values.cannot_read(named_by, f"{file} is not TOML: {error}")
    return values


def paths_given(sources: Iterable[SourceValues]) -> set[str]:
    """Every text of the sources as a normal path: a file that a setting names is among them."""
    values = [given.value for source in sources for given in source.given.values()]
    return {os.path.normpath(as_text(value)) for value in values if isinstance(value, str | SecretStr)}


def _give(values: SourceValues, named: Named, find: Callable[[Sequence[str]], Place], value: Any) -> None:  # noqa: ANN401 - any value of a source
    """Add the value at its place, a table decoded from JSON; or a mistake, if that is not possible."""
    place = _place(values, named, find)
    if place is None:
        return
    values.origins[place.path] = named.origin
    if place.is_table and isinstance(value, str):
        try:
            value = json_value(value)
        except ValueError as problem:
            values.mistake(dotted(place.path), f"{problem}; allowed: a JSON object", named.origin)
            return
    if place.is_table and not isinstance(value, dict):
        values.not_a_table(place.path)
    else:
        values.add(value, place)


def _place(values: SourceValues, named: Named, find: Callable[[Sequence[str]], Place]) -> Place | None:
    """The place of a name; None, and a mistake, if there is none."""
    try:
        return find(named.segments)
    except Unknown:
        values.unknown(*named)
    except ValueError as problem:
        values.mistake(named.name, str(problem), named.origin)
    return None


def _tables_first(names: Iterable[str]) -> list[str]:
    """The names in the order in which they replace each other: a more exact one wins over its table."""
    return sorted(names, key=lambda name: (name.count("__"), name))


def _read_file(values: SourceValues, file: FilePath) -> None:
    try:
        text = read_secret(file)
    except OSError as error:
        values.mistake(file.name, f"cannot read {file}: {error.strerror or error}", str(file))
    else:
        named = Named(file.name, tuple(file.name.lower().split("__")), str(file))
        _give(values, named, place_of_variable, text)


def _is_of_others(file: FilePath, paths: Collection[str] | None) -> bool:
    """Whether a file is no setting by its name: the file of another key, or a credential that is not for the bridge."""
    if paths is None:
        return False
    looks_like_a_key = "__" in file.name or file.name.lower() in Settings.model_fields
    return not looks_like_a_key or os.path.normpath(file) in paths


def _is_of_a_service(named: Named, value: str) -> bool:
    """Whether Kubernetes injected a variable for a Service of any name. A variable of a setting is none."""
    is_port = _PORT_OF_A_SERVICE.fullmatch(named.name) is not None and _ADDRESS_OF_A_SERVICE.match(value) is not None
    if not is_port and _OF_A_SERVICE.fullmatch(named.name) is None:
        return False
    try:
        place_of_variable(named.segments)
    except (Unknown, ValueError):
        return True
    return False
