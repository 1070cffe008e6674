"""Files that settings name: secrets, certificates and keys. All are read, or tried, when settings are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from bridge.errors import Mistake, SettingsError
from bridge.settings.catalogue import Path, dotted, fields_of
from bridge.settings.describe import annotation_of, base_type, is_secret
from bridge.settings.model import HttpSettings, KafkaSettings, Settings
from bridge.settings.server import ServerSettings
from bridge.settings.tls import Names, client_context, server_context
from bridge.settings.values import plain, secret_text

Contents = Mapping[Path, bytes]
"""The contents of the files by the path of the setting that names each: secrets and private keys, never shown."""


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


def read_files(settings: Settings, wrong: set[Path]) -> tuple[Settings, Contents, list[Mistake]]:
    """The tree with the secrets of the files, the contents of all files, and the mistakes in them.

    The servers' tokens are only tried: they are read again at every connect. Each file is read once, because a pipe
    (``<(pass show ...)``) cannot be read twice.
    """
    mistakes: list[Mistake] = []
    contents: dict[Path, bytes] = {}
    for named in named_files(settings):
        mistakes += _given_twice(named, wrong)
        try:
            content = named.file.read_bytes()
            settings = with_content(settings, named, content)
            contents[named.path] = content
        except (OSError, ValidationError) as error:
            mistakes.append(unusable(dotted(named.path), named.file, error))
    if not mistakes:  # Kafka's client judges its own files at the start
        mistakes += [each for table, look in tls_groups(settings).items() if table != ("kafka",) for each in look()]
    return settings, contents, mistakes


def unusable(key: str, file: FilePath, error: OSError | ValidationError) -> Mistake:
    """The mistake of a file that cannot be read, or whose text is no value of its key."""
    if isinstance(error, OSError):
        return Mistake(key, f"cannot read {str(file)!r}: {error.strerror or error}")
    return Mistake(key, f"the text in {str(file)!r} (not shown) {error.errors()[0]['ctx']['error']}")


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


def with_content(settings: Settings, named: NamedFile, content: bytes) -> Settings:
    """The tree with the secret in a file. Raises ``OSError``, ``ValidationError`` when the file holds no such secret.

    Without a change for a file that holds something else, and for the token of a server.
    """
    if named.twin is None:
        return settings
    field = fields_of(type(named.group))[named.twin[-1]]
    secret: SecretStr = TypeAdapter(annotation_of(field)).validate_python(secret_text(named.file, content))
    if named.path[0] == "servers":
        return settings
    group_name, name = named.twin
    group: Any = getattr(settings, group_name)
    return settings.model_copy(update={group_name: group.model_copy(update={name: secret})})


def tls_groups(settings: Settings) -> Mapping[Path, Callable[[], list[Mistake]]]:
    """By the path of a table: looks for certificates and keys of the table that can be read but not used."""
    groups: dict[Path, Callable[[], list[Mistake]]] = {
        ("servers", name): partial(_tls_mistakes, _server_context, name, server)
        for name, server in settings.servers.items()
    }
    groups["kafka",] = partial(_tls_mistakes, _kafka_context, settings.kafka)
    groups["http",] = partial(_tls_mistakes, _http_context, settings.http)
    return groups


def _tls_mistakes(make: Callable[..., object], *arguments: object) -> list[Mistake]:
    try:
        make(*arguments)
    except SettingsError as error:
        return list(error.mistakes)
    return []


def _server_context(name: str, server: ServerSettings) -> None:
    files = (server.ca_file, server.client_cert_file, server.client_key_file)
    if any(files):
        client_context(*(str(file) if file else None for file in files), key_prefix=f"servers.{name}.")


def _kafka_context(kafka: KafkaSettings) -> None:
    files = (kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file)
    password = plain(kafka.ssl_key_password) or ""
    if any(files):
        ca_file, cert_file, key_file = (str(file) if file else None for file in files)
        names = Names("kafka.ssl_ca_file", "kafka.ssl_cert_file", "kafka.ssl_key_file")
        client_context(ca_file, cert_file, key_file, names=names, password=password)


def _http_context(http: HttpSettings) -> None:
    if http.cert_file is not None:
        server_context(http.cert_file, http.key_file)
