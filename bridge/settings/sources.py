"""The sources: environment, secrets directory, TOML file, options. Each becomes a `Layer`.

Only `toml_layer` and `secrets_layer` touch the world (they read files).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from pydantic import SecretStr

from bridge.settings.catalogue import PREFIX, ROOT, Place, Unknown
from bridge.settings.kind import as_text
from bridge.settings.kinds import read_secret
from bridge.settings.layers import Layer
from bridge.settings.model import Settings

CONFIG_VARIABLE = "MIX_BRIDGE_CONFIG"
SECRETS_VARIABLE = "CREDENTIALS_DIRECTORY"

_KUBERNETES = re.compile(r"MIX_BRIDGE_(SERVICE_HOST|SERVICE_PORT.*|PORT_8090_TCP.*)", re.DOTALL)
_KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """The ``MIX_BRIDGE_`` variables."""
    layer = Layer()
    names = [name for name in environ if name.startswith(PREFIX) and not _not_a_setting(name, environ[name])]
    # Whole tables before single keys, so that the more exact variable wins
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        _put_named(layer, name, name.removeprefix(PREFIX), environ[name], name)
    return layer


def secrets_layer(directory: FilePath, named_by: str, of_others: Collection[str] | None = None) -> Layer:
    """The files of the secrets directory, named like ``servers__local__token``.

    Hidden files and directories are passed over: Kubernetes keeps its ``..data`` there. `of_others` is given for a
    directory that nobody made for this: files that it has (normal paths), and those whose names look like no key, are
    passed over too.
    """
    layer = Layer()
    try:
        files = sorted(directory.iterdir(), key=lambda file: (file.name.count("__"), file.name))
    except OSError as error:
        layer.cannot_read(named_by, f"cannot read {directory}: {error.strerror}")
        return layer
    for file in files:
        # os.path, since is_dir of a Path raises where the directory may be listed but not entered
        if not file.name.startswith(".") and not os.path.isdir(file) and not _of_others(file, of_others):  # noqa: PTH112
            _put_file(layer, file)
    return layer


def paths_given(layers: Iterable[Layer]) -> set[str]:
    """Every text that layers give, as a normal path: no file is named by anything else."""
    values = [given.value for layer in layers for given in layer.given.values()]
    return {os.path.normpath(as_text(value)) for value in values if isinstance(value, str | SecretStr)}


def toml_layer(file: FilePath, named_by: str) -> Layer:
    """The TOML file."""
    layer = Layer()
    try:
        table = tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        layer.cannot_read(named_by, f"cannot read {file}: {error.strerror}")
    except UnicodeDecodeError:
        layer.cannot_read(named_by, f"{file} is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        layer.cannot_read(named_by, f"{file} is not TOML: {error}")
    else:
        layer.put(ROOT, table, str(file))
    return layer


def options_layer(overrides: Mapping[str, Any], origins: Mapping[str, str]) -> Layer:
    """What the command line gives: values or tables by dotted key."""
    layer = Layer()
    for key in sorted(overrides, key=lambda key: key.count(".")):
        origin = origins.get(key, "--set")
        try:
            place = dotted_place(key)
        except Unknown:
            layer.unknown(key, tuple(key.split(".")), origin)
        except ValueError as problem:
            layer.mistake(key, str(problem), origin)
        else:
            value = overrides[key]
            (layer.put_text if isinstance(value, str) else layer.put)(place, value, origin)
    return layer


def dotted_place(key: str) -> Place:
    """Where a key like ``kafka.properties.client.id`` leads. Unknown when nowhere, ValueError for a bad name."""
    place, segments = ROOT, key.split(".")
    while segments:
        if place.names is not None and place.names.whole:
            segments = [".".join(segments)]
        place = place.child(segments.pop(0))
    return place


def _of_others(file: FilePath, paths: Collection[str] | None) -> bool:
    """Whether a file is no setting by its name: another key's file, or a credential that is not for the bridge."""
    if paths is None:
        return False
    looks_like_a_key = "__" in file.name or file.name.lower() in Settings.model_fields
    return not looks_like_a_key or os.path.normpath(file) in paths


def _put_file(layer: Layer, file: FilePath) -> None:
    try:
        text = read_secret(file)
    except OSError as error:
        layer.mistake(file.name, f"cannot read {file}: {error.strerror or error}", str(file))
    else:
        _put_named(layer, file.name, file.name.upper(), text, str(file))


def _put_named(layer: Layer, name: str, tail: str, text: str, origin: str) -> None:
    """Take the text of a variable or secrets file for the key its name stands for."""
    segments = tail.lower().split("__")
    if tail != tail.upper():
        layer.unknown(name, tuple(segments), origin)
        return
    try:
        place = _variable_place(segments)
    except Unknown:
        layer.unknown(name, tuple(segments), origin)
    except ValueError as problem:
        layer.mistake(name, str(problem), origin)
    else:
        layer.put_text(place, text, origin)


def _variable_place(segments: Sequence[str]) -> Place:
    place, rest = ROOT, list(segments)
    while rest:
        names = place.names
        if names is not None and names.whole:
            rest = ["__".join(rest)]
        name = rest.pop(0)
        if place.template == ("servers",) and "-" in name:  # as the interface says: `_` is what a variable can carry
            raise ValueError("a server's name with - can only come from TOML, JSON or options")
        place = place.child(names.of_variable(name) if names else name)
    return place


def _not_a_setting(name: str, value: str) -> bool:
    """Whether a variable is the file's own, or injected by Kubernetes for a Service called mix-bridge."""
    if name == f"{PREFIX}PORT":
        return _KUBERNETES_ADDRESS.match(value) is not None
    return name == CONFIG_VARIABLE or _KUBERNETES.fullmatch(name) is not None
