"""Files that settings name: secrets with a ``_file`` twin, certificates and keys. All are read, or tried, at load.

Touches the world: reads files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from bridge.errors import Mistake
from bridge.settings.catalogue import Path, dotted, fields_of, kind_of_field
from bridge.settings.kinds import File, Hidden
from bridge.settings.model import Settings
from bridge.settings.secret_files import read_secret


class NamedFile(NamedTuple):
    """One setting that names a file, in one group of the tree."""

    group: BaseModel
    path: Path
    file: FilePath

    @property
    def twin(self) -> str | None:
        """The key of the secret that the file holds, None when it holds a certificate or key."""
        name = self.path[-1].removesuffix("_file")
        field = fields_of(type(self.group)).get(name)
        return name if field and isinstance(kind_of_field(field), Hidden) else None


def groups(settings: Settings) -> Iterator[tuple[Path, BaseModel]]:
    """Every group of the tree with its path."""
    for name, value in settings:
        if isinstance(value, BaseModel):
            yield (name,), value
    for name, server in settings.servers.items():
        yield ("servers", name), server


def named_files(settings: Settings) -> Iterator[NamedFile]:
    """Every file that the settings name."""
    for path, group in groups(settings):
        for name, field in fields_of(type(group)).items():
            file = getattr(group, name)
            if isinstance(kind_of_field(field), File) and file is not None:
                yield NamedFile(group, (*path, name), file)


def file_mistakes(settings: Settings, wrong: set[Path]) -> Iterator[Mistake]:
    """Files that cannot be read, hold no such secret, or stand beside the secret itself."""
    for named in named_files(settings):
        twin = named.twin
        if twin is not None and (getattr(named.group, twin) is not None or (*named.path[:-1], twin) in wrong):
            key = dotted((*named.path[:-1], twin))
            yield Mistake(dotted(named.path), f"{key} is given too; allowed: one of the two")
        try:
            _try(named)
        except OSError as error:
            yield Mistake(dotted(named.path), f"cannot read {str(named.file)!r}: {error.strerror or error}")
        except ValueError as problem:
            yield Mistake(dotted(named.path), f"what {str(named.file)!r} holds (not shown) {problem}")


def with_file_secrets(settings: Settings) -> Settings:
    """The tree with the secrets of files beside their paths, but for the servers' tokens, which are read at every use."""
    changed: dict[str, Any] = {}
    for named in named_files(settings):
        if named.twin is not None and named.path[0] != "servers":
            group = changed.get(named.path[0], named.group)
            secret = SecretStr(read_secret(named.file))
            changed[named.path[0]] = group.model_copy(update={named.twin: secret})
    return settings.model_copy(update=changed)


def _try(named: NamedFile) -> None:
    twin = named.twin
    if twin is None:
        with named.file.open("rb"):
            return
    kind = kind_of_field(fields_of(type(named.group))[twin])
    assert kind is not None  # noqa: S101 - a twin is a field with a kind
    kind.parse(read_secret(named.file))
