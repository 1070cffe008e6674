"""Reads again the files that hold secrets and certificates, without the sources that name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import NamedTuple

from pydantic import SecretStr, TypeAdapter, ValidationError

from bridge.errors import Mistake
from bridge.settings.catalogue import Path, dotted, place_at
from bridge.settings.describe import is_secret
from bridge.settings.files import named_files, tls_groups, unusable, with_content
from bridge.settings.loading import Loaded
from bridge.settings.model import Settings
from bridge.settings.reload import replaced, table_of
from bridge.settings.values import secret_text


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
    for named in named_files(settings):
        if table_of(named.path) in waiting or (not named.file.is_file() and named.file.exists()):
            continue
        try:
            content = named.file.read_bytes()
            if content != contents.get(named.path):
                settings = with_content(settings, named, content)
                contents[named.path] = content
        except (OSError, ValidationError) as error:
            mistakes.append(unusable(dotted(named.path), named.file, error))
    settings, of_directory = _secrets_directory(settings, loaded, waiting)
    renewed = Loaded(settings, loaded.origins, contents, loaded.secret_files)
    for table, look in tls_groups(settings).items():
        if any(path[: len(table)] == table and contents[path] != loaded.contents.get(path) for path in contents):
            found = look()
            mistakes += found
            renewed = _with_former(renewed, loaded, table) if found else renewed
    return Renewed(renewed, (*mistakes, *of_directory))


def _secrets_directory(settings: Settings, loaded: Loaded, waiting: frozenset[Path]) -> tuple[Settings, list[Mistake]]:
    mistakes: list[Mistake] = []
    for path, file in loaded.secret_files.items():
        if table_of(path) in waiting or not is_secret(place_at(path).annotation):
            continue  # another setting is read at a reload
        try:
            settings = replaced(settings, path, _secret(path, file))
        except (OSError, ValidationError) as error:
            mistakes.append(unusable(dotted(path), file, error))
        except KeyError:
            mistakes.append(Mistake(dotted(path), f"{str(file)!r} belongs to a table that is not in use: restart"))
    return settings, mistakes


def _secret(path: Path, file: FilePath) -> SecretStr:
    secret: SecretStr = TypeAdapter(place_at(path).annotation).validate_python(secret_text(file, file.read_bytes()))
    return secret


def _with_former(renewed: Loaded, former: Loaded, table: Path) -> Loaded:
    """The renewed settings with the former files of one table."""
    contents = {
        path: former.contents[path] if path[: len(table)] == table and path in former.contents else content
        for path, content in renewed.contents.items()
    }
    settings = renewed.settings
    for path, value in _secrets_of(former.settings, table):
        settings = replaced(settings, path, value)
    return Loaded(settings, renewed.origins, contents, renewed.secret_files)


def _secrets_of(settings: Settings, table: Path) -> Iterator[tuple[Path, SecretStr]]:
    for named in named_files(settings):
        if named.twin is not None and named.path[: len(table)] == table and table[0] != "servers":
            yield named.twin, getattr(named.group, named.twin[-1])
