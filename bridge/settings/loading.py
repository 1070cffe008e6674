"""From the sources to the tree: every mistake is reported together, or the result is a complete, checked `Settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from bridge.errors import Mistake, SettingsError
from bridge.settings.catalogue import Path, place_of_variable
from bridge.settings.files import Contents, read_files
from bridge.settings.mistakes import Given, mistake_of, path_of
from bridge.settings.model import Settings
from bridge.settings.origins import SourceValues
from bridge.settings.quotes import quoted_values
from bridge.settings.rules import broken_rules, needed_to_run
from bridge.settings.server import ServerSettings
from bridge.settings.sources import (
    CONFIG_VARIABLE,
    SECRETS_VARIABLE,
    environment_values,
    option_values,
    paths_given,
    secret_values,
    toml_values,
)

_STAND_IN = "http://stand-in.invalid"  # keeps a server with a wrong url in the tree, for the rules about its other keys


@dataclass(frozen=True, slots=True)
class Loaded:
    """The tree, the origin of each value that is not a default, and the contents of the files that the tree names."""

    settings: Settings
    origins: Mapping[Path, str]
    contents: Contents = field(default_factory=dict, repr=False)
    secret_files: Mapping[Path, FilePath] = field(default_factory=dict)
    """The files of the secrets directory by the path of the setting that each gives."""
    empty: tuple[str, ...] = ()
    """Variables that are set but empty: they count as not set."""


def load(overrides: Mapping[str, Any], environ: Mapping[str, str], **options: Any) -> Settings:  # noqa: ANN401 - see load_all
    """The settings alone; arguments and errors as `load_all`."""
    return load_all(overrides, environ, **options).settings


def load_all(  # noqa: PLR0913 - everything that a command line can give, each by name
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

    `overrides` are values or texts by dotted key (``--set``), the strongest source; `servers` are URLs by name that
    replace the servers of all other sources; `sessions` are the only ones to bridge, on the single server; `to_run`
    requires everything that a start needs. Raises SettingsError with every mistake.
    """
    urls = {f"servers.{name}.url": url for name, url in (servers or {}).items()}
    options = option_values({**overrides, **urls}, dict.fromkeys(urls, "--server"))
    weaker = _weaker(options, environ, config, secrets_dir)
    mistakes = [mistake for source in (options, *weaker) for mistake in source.mistakes]
    if servers is not None:
        weaker = [source.without({("servers",)}) for source in weaker]
    sources = [options, *weaker]
    complete = not any(source.unread for source in sources)
    mistakes += _choose_sessions(sources, sessions) if complete else []
    origins = {path: given for source in reversed(sources) for path, given in source.given.items()}
    settings, wrong = _tree(sources, mistakes, origins, complete=complete)
    settings, contents, of_files = read_files(_with_dependent_defaults(settings), wrong)
    mistakes += of_files
    if complete:  # otherwise the source that could not be read may hold the missing part
        mistakes += quoted_values(origins, wrong)
        mistakes += broken_rules(settings, wrong)
        mistakes += needed_to_run(settings, [mistake.key for mistake in mistakes]) if to_run else []
    if mistakes:
        raise SettingsError(mistakes)
    texts = {path: given.origin for path, given in origins.items()}
    empty = tuple(name for source in sources for name in source.empty)
    return Loaded(settings, texts, contents, _secret_files(weaker[1], origins), empty)


def _secret_files(directory: SourceValues, origins: Mapping[Path, Given]) -> dict[Path, FilePath]:
    """The files that give one value each; another one holds a table as JSON."""
    files = {path: FilePath(given.origin) for path, given in directory.given.items() if origins[path] == given}
    return {path: file for path, file in files.items() if place_of_variable(file.name.lower().split("__")).path == path}


def _weaker(
    options: SourceValues, environ: Mapping[str, str], config: FilePath | None, secrets_dir: FilePath | None
) -> list[SourceValues]:
    environment, toml, secrets = environment_values(environ), SourceValues(), SourceValues()
    if config is not None:
        toml = toml_values(config, "--config")
    elif environ.get(CONFIG_VARIABLE):
        toml = toml_values(FilePath(environ[CONFIG_VARIABLE]), CONFIG_VARIABLE)
    if secrets_dir is not None:
        secrets = secret_values(secrets_dir, "--secrets-dir")
    elif environ.get(SECRETS_VARIABLE):
        # systemd puts all credentials of a unit there, including those that a `*_file` key names by %d
        named = paths_given([options, environment, toml])
        secrets = secret_values(FilePath(environ[SECRETS_VARIABLE]), SECRETS_VARIABLE, named)
    return [environment, secrets, toml]


def _choose_sessions(sources: Sequence[SourceValues], sessions: Sequence[str]) -> list[Mistake]:
    """Add ``--session`` to the options: only these sessions, on the single server."""
    if not sessions:
        return []
    names = {path[1] for source in sources for path in source.given if path[0] == "servers" and len(path) > 1}
    if len(names) != 1:
        allowed = "use --set servers.NAME.sessions=ID,ID and --set servers.NAME.discover=false"
        return [Mistake("--session", f"needs exactly one server, there are {len(names)}; with several {allowed}")]
    name = names.pop()
    sources[0].given["servers", name, "sessions"] = Given(list(sessions), "--session")
    sources[0].given["servers", name, "discover"] = Given(value=False, origin="--session")
    return []


def _tree(
    sources: Sequence[SourceValues], mistakes: list[Mistake], origins: Mapping[Path, Given], *, complete: bool
) -> tuple[Settings, set[Path]]:
    """The tree, and the paths that were wrong: these have their defaults, so that the rest can be checked."""
    try:
        return Settings.of(*(source.values() for source in sources)), set()
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
    mistakes += [mistake_of(detail, origins) for detail in details if complete or detail["type"] != "missing"]
    wrong = {path_of(detail) for detail in details}
    # A row of a list has no default of its own: the whole list is removed
    removed = wrong | {path[:2] for path in wrong if path[0] == "topics"}
    servers: dict[Path, str] = {
        ("servers", path[1], "url"): _STAND_IN for path in sorted(wrong) if path[0] == "servers"
    }
    return Settings.of(*(source.without(removed).values() for source in sources), servers), wrong


def _with_dependent_defaults(settings: Settings) -> Settings:
    """The settings with the defaults that depend on other settings."""
    names = {
        key: f"{settings.namespace}.{key.replace('_', '-')}"
        for key in ("events", "dead_letters", "checkpoints", "lifecycle")
        if not getattr(settings.topics, key)
    }
    servers = {name: _with_start_after_id(server) for name, server in settings.servers.items()}
    return settings.model_copy(update={"topics": settings.topics.model_copy(update=names), "servers": servers})


def _with_start_after_id(server: ServerSettings) -> ServerSettings:
    """Only a Mix server is known to count its ids: to others the id 0 means nothing, or not the beginning."""
    if server.event_schema == "mix" or "start_after_id" in server.model_fields_set:
        return server
    return server.model_copy(update={"start_after_id": ""})
