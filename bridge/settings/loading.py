"""From the sources to the tree: every mistake found in one go, or a complete, checked `Settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from bridge.errors import Mistake, SettingsError
from bridge.settings.catalogue import Path
from bridge.settings.files import read_files
from bridge.settings.layers import Given, Layer, LayerSource
from bridge.settings.mistakes import mistake_of, path_of
from bridge.settings.model import Settings
from bridge.settings.rules import broken_rules, needed_to_run
from bridge.settings.sources import (
    CONFIG_VARIABLE,
    SECRETS_VARIABLE,
    environment_layer,
    options_layer,
    paths_given,
    secrets_layer,
    toml_layer,
)

_STAND_IN = "http://stand-in.invalid"  # keeps a server with a wrong url in the tree, for the rules about its other keys


@dataclass(frozen=True, slots=True)
class Loaded:
    """The tree, and where each value that is no default came from."""

    settings: Settings
    origins: Mapping[Path, str]


def load(overrides: Mapping[str, Any], environ: Mapping[str, str], **options: Any) -> Settings:  # noqa: ANN401 - see load_all
    """The settings alone; arguments and errors as `load_all`."""
    return load_all(overrides, environ, **options).settings


def load_all(  # noqa: PLR0913 - what a command line can say, each by name
    overrides: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    servers: Mapping[str, str] | None = None,
    sessions: Sequence[str] = (),
    config: FilePath | None = None,
    secrets_dir: FilePath | None = None,
    to_run: bool = False,
) -> Loaded:
    """Read all sources and check everything.

    `overrides` are values or texts by dotted key (``--set``), the strongest source; `servers` are addresses by name
    that take the place of the servers of all other sources; `sessions` are the only ones to bridge, on the one server
    there is; `to_run` asks for what a start needs. Raises SettingsError with every mistake there is.
    """
    options = _options(overrides, servers)
    weaker = _weaker(options, environ, config, secrets_dir)
    mistakes = [mistake for layer in (options, *weaker) for mistake in layer.mistakes]
    if servers is not None:
        weaker = [layer.without({("servers",)}) for layer in weaker]
    layers = [options, *weaker]
    complete = not any(layer.unread for layer in layers)
    mistakes += _choose_sessions(layers, sessions) if complete else []
    origins = _origins(layers)
    settings, wrong = _tree(layers, mistakes, origins, complete=complete)
    settings = _with_topics(settings)
    settings, of_files = read_files(settings, wrong)
    mistakes += of_files
    if complete:  # what one source breaks, the one that could not be read may mend
        mistakes += broken_rules(settings, wrong)
        mistakes += needed_to_run(settings, [mistake.key for mistake in mistakes]) if to_run else []
    if mistakes:
        raise SettingsError(mistakes)
    return Loaded(settings, {path: given.origin for path, given in origins.items()})


def _options(overrides: Mapping[str, Any], servers: Mapping[str, str] | None) -> Layer:
    urls = {f"servers.{name}.url": url for name, url in (servers or {}).items()}
    return options_layer({**overrides, **urls}, dict.fromkeys(urls, "--server"))


def _weaker(
    options: Layer, environ: Mapping[str, str], config: FilePath | None, secrets_dir: FilePath | None
) -> list[Layer]:
    environment, toml, secrets = environment_layer(environ), Layer(), Layer()
    if config is not None:
        toml = toml_layer(config, "--config")
    elif environ.get(CONFIG_VARIABLE):
        toml = toml_layer(FilePath(environ[CONFIG_VARIABLE]), CONFIG_VARIABLE)
    if secrets_dir is not None:
        secrets = secrets_layer(secrets_dir, "--secrets-dir")
    elif environ.get(SECRETS_VARIABLE):
        # systemd puts all credentials of a unit there, those that a `*_file` key names by %d too
        named = paths_given([options, environment, toml])
        secrets = secrets_layer(FilePath(environ[SECRETS_VARIABLE]), SECRETS_VARIABLE, named)
    return [environment, secrets, toml]


def _choose_sessions(layers: Sequence[Layer], sessions: Sequence[str]) -> list[Mistake]:
    """Put ``--session`` into the options: only these sessions, on the one server there is."""
    if not sessions:
        return []
    names = {path[1] for layer in layers for path in layer.given if path[0] == "servers" and len(path) > 1}
    if len(names) != 1:
        allowed = "use --set servers.NAME.sessions=ID,ID and --set servers.NAME.discover=false"
        return [Mistake("--session", f"needs exactly one server, there are {len(names)}; with several {allowed}")]
    name = names.pop()
    layers[0].given["servers", name, "sessions"] = Given(list(sessions), "--session")
    layers[0].given["servers", name, "discover"] = Given(value=False, origin="--session")
    return []


def _origins(layers: Sequence[Layer]) -> dict[Path, Given]:
    return {path: given for layer in reversed(layers) for path, given in layer.given.items()}


def _tree(
    layers: Sequence[Layer], mistakes: list[Mistake], origins: Mapping[Path, Given], *, complete: bool
) -> tuple[Settings, set[Path]]:
    """The tree, and the paths that were wrong: those are left at their defaults so that the rest can be checked."""
    try:
        return _built(layers), set()
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
    mistakes += [mistake_of(detail, origins) for detail in details if complete or detail["type"] != "missing"]
    wrong = {path_of(detail) for detail in details}
    # A row of a list has no default of its own: the whole list goes
    layers = [layer.without(wrong | {path[:2] for path in wrong if path[0] == "topics"}) for layer in layers]
    servers = sorted({path[1] for path in wrong if path[0] == "servers"})
    stand_ins = Layer({("servers", name, "url"): Given(_STAND_IN, "") for name in servers})
    return _built([*layers, stand_ins]), wrong


def _built(layers: Sequence[Layer]) -> Settings:
    sources: dict[str, Any] = {"layers": tuple(LayerSource(layer) for layer in layers)}
    return Settings(**sources)


def _with_topics(settings: Settings) -> Settings:
    """The tree with the default topic names, which follow the namespace."""
    names = {
        key: f"{settings.namespace}.{key.replace('_', '-')}"
        for key in ("events", "dead_letters", "checkpoints", "lifecycle")
        if not getattr(settings.topics, key)
    }
    return settings.model_copy(update={"topics": settings.topics.model_copy(update=names)})
