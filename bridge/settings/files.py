"""Files that settings name: secrets, certificates and keys. All are read, or tried, when settings are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from bridge.errors import Mistake, SettingsError
from bridge.settings.catalogue import Path, dotted, fields_of
from bridge.settings.describe import annotation_of, base_type, is_secret
from bridge.settings.model import Settings
from bridge.settings.tls import client_context
from bridge.settings.values import read_secret


class NamedFile(NamedTuple):
    """One setting that names a file, in one group of the tree."""

    group: BaseModel
    path: Path
    file: FilePath

    @property
    def twin(self) -> Path | None:
        """The path of the secret that the file holds, None when it holds a certificate or key."""
        name = self.path[-1].removesuffix("_file")
        field = fields_of(type(self.group)).get(name)
        return (*self.path[:-1], name) if field and is_secret(annotation_of(field)) else None


def named_files(settings: Settings) -> Iterator[NamedFile]:
    """Every file that the settings name."""
    for path, group in _groups(settings):
        for name, field in fields_of(type(group)).items():
            file = getattr(group, name)
            if base_type(annotation_of(field)) is FilePath and file is not None:
                yield NamedFile(group, (*path, name), file)


def read_files(settings: Settings, wrong: set[Path]) -> tuple[Settings, list[Mistake]]:
    """The tree with the secrets of the files, and the mistakes in the files.

    The servers' tokens are only tried: they are read again at every connect. Each file is read once, because a pipe
    (``<(pass show ...)``) cannot be read twice.
    """
    mistakes: list[Mistake] = []
    for named in named_files(settings):
        mistakes += _given_twice(named, wrong)
        try:
            secret = _read(named)
        except OSError as error:
            mistakes.append(Mistake(dotted(named.path), f"cannot read {str(named.file)!r}: {error.strerror or error}"))
        except ValidationError as error:
            problem = error.errors()[0]["ctx"]["error"]
            mistakes.append(Mistake(dotted(named.path), f"the text in {str(named.file)!r} (not shown) {problem}"))
        else:
            settings = _with_secret(settings, named, secret)
    mistakes += [] if mistakes else _tls_mistakes(settings)
    return settings, mistakes


def _groups(settings: Settings) -> Iterator[tuple[Path, BaseModel]]:
    for name, value in settings:
        if isinstance(value, BaseModel):
            yield (name,), value
    for name, server in settings.servers.items():
        yield ("servers", name), server


def _given_twice(named: NamedFile, wrong: set[Path]) -> Iterator[Mistake]:
    twin = named.twin
    if twin is not None and (getattr(named.group, twin[-1]) is not None or twin in wrong):
        yield Mistake(dotted(named.path), f"{dotted(twin)} is given too; allowed: one of the two")


def _read(named: NamedFile) -> SecretStr | None:
    """The secret in a file; None for a file that holds something else but can be read."""
    if named.twin is None:
        with named.file.open("rb"):
            return None
    field = fields_of(type(named.group))[named.twin[-1]]
    secret: SecretStr = TypeAdapter(annotation_of(field)).validate_python(read_secret(named.file))
    return secret


def _with_secret(settings: Settings, named: NamedFile, secret: SecretStr | None) -> Settings:
    if secret is None or named.twin is None or named.path[0] == "servers":
        return settings
    group_name, name = named.twin
    group: Any = getattr(settings, group_name)
    return settings.model_copy(update={group_name: group.model_copy(update={name: secret})})


def _tls_mistakes(settings: Settings) -> list[Mistake]:
    """Certificates and keys that can be read but not used."""
    mistakes: list[Mistake] = []
    for name, server in settings.servers.items():
        files = (server.ca_file, server.client_cert_file, server.client_key_file)
        try:
            if any(files):
                client_context(*(str(file) if file else None for file in files), key_prefix=f"servers.{name}.")
        except SettingsError as error:
            mistakes += error.mistakes
    return mistakes
