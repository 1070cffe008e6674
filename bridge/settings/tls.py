"""TLS contexts of the settings. All connections to a server share one, because a context needs 0.7 MiB."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

from bridge.errors import SettingsError


class Names(NamedTuple):
    """The keys of the settings that name the files, for errors."""

    ca_file: str = "ca_file"
    cert_file: str = "client_cert_file"
    key_file: str = "client_key_file"


def verifying_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A context that accepts the same certificates on every Python. ``ca_file`` replaces the system's authorities.

    Python 3.13 refuses certificates that violate RFC 5280 in form, such as those of an authority without the extension
    keyUsage, and accepts an intermediate authority as trusted. Earlier versions do neither. Authorities of companies
    often have such certificates, so their form is not checked; chain, time and host name always are.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    return context


def client_context(  # noqa: PLR0913 - the three files, and what errors need
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
    *,
    key_prefix: str = "",
    names: Names | None = None,
    password: str = "",
) -> ssl.SSLContext:
    """A verifying client context. ``ca_file`` replaces the system's trusted authorities.

    ``key_prefix`` precedes the setting's name in errors, such as ``servers.local.``. ``password``: of the private key.
    Raises `SettingsError` for a file that cannot be read or used.
    """
    names = names or Names(*(f"{key_prefix}{name}" for name in Names()))
    if key_file and not cert_file:
        raise SettingsError.of(names.key_file, "needs client_cert_file as well")
    try:
        context = verifying_context(ca_file)
    except OSError as error:
        raise _unusable(names.ca_file, ca_file, error, "a PEM file of certificate authorities") from error
    if cert_file:
        _load_certificate(context, cert_file, key_file, names, password)
    return context


def server_context(cert_file: Path, key_file: Path | None) -> ssl.SSLContext:
    """A context of the HTTP endpoint. Raises `SettingsError` for a file that cannot be read or used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = Names(cert_file="http.cert_file", key_file="http.key_file")
    _load_certificate(context, str(cert_file), str(key_file) if key_file else None, names, "")
    return context


def own_context(cert_file: str) -> ssl.SSLContext:
    """A client context for a daemon of the same settings: it trusts only this certificate. Raises `SettingsError`."""
    context = client_context(cert_file, None, None, names=Names(ca_file="http.cert_file"))
    context.check_hostname = False  # it is asked at a local address
    return context


class ServerTls:
    """TLS of the HTTP endpoint: each handshake uses the present certificate. Any thread."""

    def __init__(self, present: ssl.SSLContext) -> None:
        self.present = present
        """The context of later handshakes; replaced as a whole."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """The context to listen with."""
        self.context.sni_callback = self._use_present  # OpenSSL calls it in each handshake, also without a server name

    def _use_present(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self.present


def _load_certificate(
    context: ssl.SSLContext, cert_file: str, key_file: str | None, names: Names, password: str
) -> None:
    for setting, path in ((names.cert_file, cert_file), (names.key_file, key_file)):
        try:
            if path:
                with open(path, "rb"):  # noqa: PTH123 - only to find out which of the two files is unreadable: OpenSSL does not report it
                    pass
        except OSError as error:
            raise _unusable(setting, path, error, "a PEM file") from error
    try:
        # Without the password callback, OpenSSL asks on the terminal for the password of an encrypted key.
        context.load_cert_chain(cert_file, key_file, password=lambda: password)
    except OSError as error:
        setting, path = (names.key_file, key_file) if key_file else (names.cert_file, cert_file)
        allowed = "an unencrypted PEM key that belongs to the certificate"
        raise _unusable(setting, path, error, allowed) from error


def _unusable(key: str, path: str | None, error: OSError, allowed: str) -> SettingsError:
    why = getattr(error, "reason", None) or error.strerror or "it cannot be used"
    return SettingsError.of(key, f"cannot use {path}: {why}; allowed: {allowed}")
