"""Files that settings name: secrets, certificates and keys. All are read, or tried, when settings are loaded."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Final

from pydantic import SecretStr, TypeAdapter, ValidationError

from bridge.errors import Mistake, SettingsError
from bridge.settings.catalogue import Path, Unknown, dotted, place_at, replaced, values
from bridge.settings.describe import is_secret
from bridge.settings.model import KafkaSettings, Settings
from bridge.settings.server import ServerSettings
from bridge.settings.tls import Names, client_context, server_context
from bridge.settings.values import plain, secret_text

Contents = Mapping[Path, bytes]
"""The contents of the files by the path of the setting that names each: secrets and private keys, never shown."""


def named_files(settings: Settings) -> Iterator[tuple[Path, FilePath]]:
    """Every file that the settings name, with the path of the setting."""
    return ((path, value) for path, value in values(settings) if isinstance(value, FilePath))


def twin_of(path: Path) -> Path | None:
    """The path of the secret that a named file holds, None when it holds a certificate or key."""
    twin = (*path[:-1], path[-1].removesuffix("_file"))
    try:
        return twin if is_secret(place_at(twin).annotation) else None
    except Unknown:
        return None


def read_files(settings: Settings, wrong: set[Path]) -> tuple[Settings, Contents, list[Mistake]]:
    """The tree with the secrets of the files, the contents of all files, and the mistakes in them.

    The servers' tokens are only tried: they are read again at every connect. Each file is read once, because a pipe
    (``<(pass show ...)``) cannot be read twice.
    """
    given = {path for path, value in values(settings) if value is not None} | wrong
    mistakes: list[Mistake] = []
    contents: dict[Path, bytes] = {}
    for path, file in named_files(settings):
        twin = twin_of(path)
        if twin is not None and twin in given:
            mistakes.append(Mistake(dotted(path), f"{dotted(twin)} is given too; allowed: one of the two"))
        try:
            content = file.read_bytes()
            settings = with_content(settings, path, file, content)
            contents[path] = content
        except (OSError, ValidationError) as error:
            mistakes.append(unusable(path, file, error))
    if not mistakes:  # Kafka's client judges its own files at the start
        tables: list[Path] = [*(("servers", name) for name in settings.servers), ("http",)]
        mistakes += [each for table in tables for each in tls_mistakes(settings, table)]
    return settings, contents, mistakes


def unusable(path: Path, file: FilePath, error: OSError | ValidationError) -> Mistake:
    """The mistake of a file that cannot be read, or whose text is no value of its key."""
    if isinstance(error, OSError):
        return Mistake(dotted(path), f"cannot read {str(file)!r}: {error.strerror or error}")
    return Mistake(dotted(path), f"the text in {str(file)!r} (not shown) {error.errors()[0]['ctx']['error']}")


def with_content(settings: Settings, path: Path, file: FilePath, content: bytes) -> Settings:
    """The tree with the secret in a file. Raises ``OSError``, ``ValidationError`` when the file holds no such secret.

    Without a change for a file that holds something else, and for the token of a server.
    """
    if (twin := twin_of(path)) is None:
        return settings
    secret = secret_in(twin, file, content)
    return settings if path[0] == "servers" else replaced(settings, twin, secret)


def secret_in(path: Path, file: FilePath, content: bytes) -> SecretStr:
    """The value of a secret setting in a file. Errors as `with_content`."""
    secret: SecretStr = TypeAdapter(place_at(path).annotation).validate_python(secret_text(file, content))
    return secret


def tls_mistakes(settings: Settings, table: Path) -> Sequence[Mistake]:
    """What is wrong with certificates and keys of a table that can be read but not used."""
    try:
        if table[0] == "servers":
            _server_context(table[1], settings.servers[table[1]])
        elif table[0] == "kafka":
            _kafka_context(settings.kafka)
        elif settings.http.cert_file is not None:
            server_context(settings.http.cert_file, settings.http.key_file)
    except SettingsError as error:
        return error.mistakes
    return ()


def _server_context(name: str, server: ServerSettings) -> None:
    files = (server.ca_file, server.client_cert_file, server.client_key_file)
    if any(files):
        client_context(*(str(file) if file else None for file in files), key_prefix=f"servers.{name}.")


def _kafka_context(kafka: KafkaSettings) -> None:
    files = (kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file)
    if any(files):
        names = Names("kafka.ssl_ca_file", "kafka.ssl_cert_file", "kafka.ssl_key_file")
        paths = (str(file) if file else None for file in files)
        client_context(*paths, names=names, password=plain(kafka.ssl_key_password) or "")


WARN_DAYS: Final = 14
"""A certificate that expires within so many days is reported."""
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME = 0xA0, 0x17
_BEFORE_VALIDITY: Final = 3
"""Fields between the version and the validity: serial number, signature algorithm, issuer."""


def expiries(contents: Mapping[Path, bytes]) -> dict[str, float]:
    """By the key that names the file, the Unix time at which its certificate expires.

    Of a file of authorities the last one to expire counts, because the others may be old on purpose; of a certificate
    with its chain the first, which is its own.
    """
    found = {path: list(_expiries_of(content)) for path, content in contents.items()}
    return {
        dotted(path): max(moments) if path[-1].endswith("ca_file") else moments[0]
        for path, moments in found.items()
        if moments and path[-1].endswith(("ca_file", "cert_file"))
    }


def _expiries_of(content: bytes) -> Iterator[float]:
    for each in _PEM.findall(content.decode(errors="replace")):
        try:
            yield _expiry(ssl.PEM_cert_to_DER_cert(each))
        except (ValueError, IndexError):
            continue  # whoever uses the file reports that it cannot be used


def _expiry(der: bytes) -> float:
    at = _content(der, _content(der, 0))
    if der[at] == _VERSION:
        at = _end(der, at)
    for _ in range(_BEFORE_VALIDITY):
        at = _end(der, at)
    not_after = _end(der, _content(der, at))
    text = der[_content(der, not_after) : _end(der, not_after)].decode("ascii")
    # Two digits of a year mean 1950 to 2049, as for strptime's %y from 1969 on.
    moment = datetime.strptime(text, "%y%m%d%H%M%SZ" if der[not_after] == _UTC_TIME else "%Y%m%d%H%M%SZ")  # noqa: DTZ007 - UTC below
    return moment.replace(tzinfo=UTC).timestamp()


def _content(der: bytes, at: int) -> int:
    """Where the content of the element at this offset begins."""
    length = der[at + 1]
    return at + 2 + (length & 0x7F if length & 0x80 else 0)


def _end(der: bytes, at: int) -> int:
    """Where the element at this offset ends."""
    start, length = _content(der, at), der[at + 1]
    return start + (int.from_bytes(der[at + 2 : start]) if length & 0x80 else length)
