"""When the certificates in a PEM file expire (RFC 5280, section 4.1). Pure."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from bridge.settings.catalogue import Path, dotted

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
