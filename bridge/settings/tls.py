"""The TLS context of a server's settings. All connections share it, because a context needs 0.7 MiB."""

from __future__ import annotations

import ssl

from bridge.errors import SettingsError


def client_context(
    ca_file: str | None, cert_file: str | None, key_file: str | None, *, key_prefix: str = ""
) -> ssl.SSLContext:
    """A verifying client context. ``ca_file`` replaces the system's trusted authorities.

    ``key_prefix`` precedes the setting's name in errors, such as ``servers.local.``. Raises `SettingsError` for a file
    that cannot be read or used.
    """
    if key_file and not cert_file:
        raise SettingsError.of(f"{key_prefix}client_key_file", "needs client_cert_file as well")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise _unusable(f"{key_prefix}ca_file", ca_file, error, "a PEM file of certificate authorities") from error
    if cert_file:
        _load_client_certificate(context, cert_file, key_file, key_prefix)
    return context


def _load_client_certificate(context: ssl.SSLContext, cert_file: str, key_file: str | None, key_prefix: str) -> None:
    for setting, path in (("client_cert_file", cert_file), ("client_key_file", key_file)):
        try:
            if path:
                with open(path, "rb"):  # noqa: PTH123 - only to find out which of the two files is unreadable: OpenSSL does not report it
                    pass
        except OSError as error:
            raise _unusable(f"{key_prefix}{setting}", path, error, "a PEM file") from error
    try:
        # Without the password callback, OpenSSL asks on the terminal for the password of an encrypted key.
        context.load_cert_chain(cert_file, key_file, password=lambda: "")
    except OSError as error:
        setting, path = ("client_key_file", key_file) if key_file else ("client_cert_file", cert_file)
        allowed = "an unencrypted PEM key that belongs to the certificate"
        raise _unusable(f"{key_prefix}{setting}", path, error, allowed) from error


def _unusable(key: str, path: str | None, error: OSError, allowed: str) -> SettingsError:
    why = getattr(error, "reason", None) or error.strerror or "it cannot be used"
    return SettingsError.of(key, f"cannot use {path}: {why}; allowed: {allowed}")
