"""What a reload changes in a running process: some keys take effect, the others need a restart.

A look reads the files that hold secrets and certificates again, without the sources that name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from bridge.errors import Mistake
from bridge.settings.catalogue import ABSENT, Path, dotted, place_at, replaced, values
from bridge.settings.describe import base_type, is_secret
from bridge.settings.files import named_files, secret_in, tls_mistakes, twin_of, unusable, with_content
from bridge.settings.loading import Loaded
from bridge.settings.model import Settings
from bridge.settings.rules import broken_rules

_IDENTITIES: Final = {
    "kafka": ("bootstrap_servers", "security_protocol", "sasl_mechanism", "sasl_username"),
    "servers": ("url", "proxy"),
}
"""Keys that name the peer and the user of the credentials of their table. While one of them waits for a restart, the
credentials wait too: a new password must not be sent for the old user, or a token to the old server."""
_HTTP_TLS: Final = frozenset({("http", "cert_file"), ("http", "key_file")})


@dataclass(frozen=True, slots=True)
class Reload:
    """The decision about two loadings of the settings."""

    loaded: Loaded
    """What the process uses from now on: the old settings, with what takes effect of the new ones."""
    applied: tuple[str, ...]
    """The keys that take effect: log.level, secrets, files of secrets and certificates."""
    needs_restart: tuple[str, ...]
    """All other keys that differ. A server that is added or removed is one key."""
    waiting: frozenset[Path]
    """The tables whose credentials wait for a restart: their files must not be looked at meanwhile."""


def decide(old: Loaded, new: Loaded) -> Reload:
    """Compare what the process uses with what was loaded; each of them is valid, and so is the result."""
    before, after = dict(values(old.settings)), dict(values(new.settings))
    changed = {path for path in before.keys() | after.keys() if before.get(path, ABSENT) != after.get(path, ABSENT)}
    changed |= {path for path in new.contents if path in old.contents and new.contents[path] != old.contents[path]}
    hot = {path for path in changed if _takes_effect(path, before, after)}
    waiting = {table_of(path) for path in changed - hot if path[-1] in _IDENTITIES.get(path[0], ())}
    while True:
        applied = {path for path in hot if table_of(path) not in waiting}
        settings = _with(old.settings, {path: after.get(path, ABSENT) for path in applied}, before)
        broken = {table_of(tuple(each.key.split("."))) for each in broken_rules(settings, set())}
        if not broken - waiting:
            break
        waiting |= broken
    present = {**new.contents, **{path: each for path, each in old.contents.items() if path not in applied}}
    named = {path for path, value in values(settings) if value is not None}
    contents = {path: content for path, content in present.items() if path in named}
    secret_files = {path: file for path, file in new.secret_files.items() if path in named}
    loaded = Loaded(settings, new.origins, contents, secret_files)
    return Reload(loaded, _names(applied), _names(_whole(changed - applied, old, new)), frozenset(waiting))


def _takes_effect(path: Path, before: Mapping[Path, Any], after: Mapping[Path, Any]) -> bool:
    if path[0] == "servers" and (("servers", path[1], "url") in before) != (("servers", path[1], "url") in after):
        return False
    if path in _HTTP_TLS and (before.get(("http", "cert_file")) is None) != (after.get(("http", "cert_file")) is None):
        return False  # the listening socket speaks TLS, or does not
    annotation = place_at(path).annotation
    return path == ("log", "level") or is_secret(annotation) or base_type(annotation) is FilePath


def table_of(path: Path) -> Path:
    """The table whose credentials belong together."""
    return path[:2] if path[0] == "servers" else path[:1]


def _whole(paths: Iterable[Path], old: Loaded, new: Loaded) -> set[Path]:
    """The paths, a server that is added or removed as one."""
    both = old.settings.servers.keys() & new.settings.servers.keys()
    return {path[:2] if path[0] == "servers" and path[1] not in both else path for path in paths}


def _names(paths: Iterable[Path]) -> tuple[str, ...]:
    """The keys; of a secret and the file that holds it only the file's."""
    found = {dotted(path) for path in paths}
    return tuple(sorted(name for name in found if f"{name}_file" not in found))


def _with(settings: Settings, changes: Mapping[Path, Any], before: Mapping[Path, Any]) -> Settings:
    for path, value in changes.items():
        # The contents of a file changed, and the tree did not: a server's token, a certificate.
        if value != before.get(path, ABSENT):
            settings = replaced(settings, path, value)
    return settings


class Renewed(NamedTuple):
    """The settings with the files as they are now, and what is wrong with those that keep their former contents."""

    loaded: Loaded
    mistakes: tuple[Mistake, ...]


def read_again(loaded: Loaded, waiting: frozenset[Path] = frozenset()) -> Renewed:
    """Read all named files and the secrets directory again.

    A file that cannot be used keeps its former contents. So do all files of its table, if a certificate and a key do
    not belong together: the two are perhaps being replaced just now, one after the other. A pipe cannot be read twice.
    ``waiting``: tables that are left out, because their files may already belong to another peer or user.
    """
    mistakes: list[Mistake] = []
    settings, contents = loaded.settings, dict(loaded.contents)
    for path, file in named_files(settings):
        if table_of(path) in waiting or (not file.is_file() and file.exists()):
            continue
        try:
            content = file.read_bytes()
            if content != contents.get(path):
                settings = with_content(settings, path, file, content)
                contents[path] = content
        except (OSError, ValidationError) as error:
            mistakes.append(unusable(path, file, error))
    settings, of_directory = _secrets_directory(settings, loaded, waiting)
    renewed = Loaded(settings, loaded.origins, contents, loaded.secret_files)
    for table in sorted({table_of(path) for path in contents if contents[path] != loaded.contents.get(path)}):
        if found := tls_mistakes(settings, table):
            mistakes += found
            renewed = _with_former(renewed, loaded, table)
    return Renewed(renewed, (*mistakes, *of_directory))


def _secrets_directory(settings: Settings, loaded: Loaded, waiting: frozenset[Path]) -> tuple[Settings, list[Mistake]]:
    mistakes: list[Mistake] = []
    for path, file in loaded.secret_files.items():
        if table_of(path) in waiting or not is_secret(place_at(path).annotation):
            continue  # another setting is read at a reload
        try:
            settings = replaced(settings, path, secret_in(path, file, file.read_bytes()))
        except (OSError, ValidationError) as error:
            mistakes.append(unusable(path, file, error))
        except KeyError:
            mistakes.append(Mistake(dotted(path), f"{str(file)!r} belongs to a table that is not in use: restart"))
    return settings, mistakes


def _with_former(renewed: Loaded, former: Loaded, table: Path) -> Loaded:
    """The renewed settings with the former files of one table."""
    contents, settings = dict(renewed.contents), renewed.settings
    for path in [path for path in former.contents if table_of(path) == table]:
        contents[path] = former.contents[path]
        twin = twin_of(path)
        if twin is not None and table[0] != "servers":
            settings = replaced(settings, twin, dict(values(former.settings))[twin])
    return Loaded(settings, renewed.origins, contents, renewed.secret_files)
