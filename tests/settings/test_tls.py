"""The TLS context of a server's settings: verifying, and clear about files that are of no use."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from bridge.errors import SettingsError
from bridge.settings.tls import client_context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    one, other = authority.issue_cert("a@example.org"), authority.issue_cert("b@example.org")
    authority.cert_pem.write_to_path(str(path / "ca.pem"))
    one.cert_chain_pems[0].write_to_path(str(path / "cert.pem"))
    one.private_key_pem.write_to_path(str(path / "key.pem"))
    other.private_key_pem.write_to_path(str(path / "other.pem"))
    key = load_pem_private_key(one.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    (path / "locked.pem").write_bytes(locked)
    (path / "rubbish.pem").write_text("rubbish")
    return path


def mistake(folder: Path, ca: str | None = None, cert: str | None = None, key: str | None = None) -> tuple[str, str]:
    paths = [str(folder / name) if name else None for name in (ca, cert, key)]
    with pytest.raises(SettingsError) as caught:
        client_context(*paths, key_prefix="servers.local.")
    (only,) = caught.value.mistakes
    return only.key, only.message


def test_the_context_trusts_only_the_configured_authority(folder: Path) -> None:
    """The named file replaces the system's authorities."""
    context = client_context(str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem"))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1


def test_without_files_the_systems_authorities_are_trusted() -> None:
    """And still verified."""
    assert client_context(None, None, None).verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("files", "key", "words"),
    [
        ({"ca": "absent.pem"}, "ca_file", "No such file or directory"),
        ({"ca": "rubbish.pem"}, "ca_file", "PEM file of certificate authorities"),
        ({"cert": "absent.pem"}, "client_cert_file", "No such file or directory"),
        ({"cert": "cert.pem", "key": "absent.pem"}, "client_key_file", "No such file or directory"),
        ({"cert": "cert.pem", "key": "other.pem"}, "client_key_file", "belongs to the certificate"),
        ({"cert": "cert.pem", "key": "locked.pem"}, "client_key_file", "unencrypted"),
        ({"cert": "cert.pem"}, "client_cert_file", "unencrypted PEM key"),
        ({"key": "key.pem"}, "client_key_file", "needs client_cert_file"),
    ],
)
def test_an_unusable_file_is_named_with_its_setting(folder: Path, files: dict[str, str], key: str, words: str) -> None:
    """The setting, the file and what is wanted; an encrypted key never asks on the terminal."""
    setting, message = mistake(folder, **files)
    assert setting == f"servers.local.{key}"
    assert words in message
    assert "\n" not in message
