"""The TLS context of a server's settings: verifying on every Python, and clear about files that are of no use."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from bridge.errors import SettingsError
from bridge.settings.tls import client_context
from tests.support.repository import REPOSITORY
from tests.support.waiting import TIMEOUT


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


class Place(NamedTuple):
    """A TLS server, and the file of its authority."""

    port: int
    ca: Path


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, *, is_ca: bool
) -> x509.Certificate:
    """One as old tools make it: no keyUsage, and no identifiers of keys (RFC 5280, 4.2.1.1 to 4.2.1.3)."""
    now = dt.datetime.now(dt.UTC)
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
    builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=False)
    if not is_ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(by, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("strict")
    of_ca, of_server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.pem").write_bytes(_pem(_certificate("ca", of_ca, "ca", of_ca, is_ca=True)))
    key = of_server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(key + _pem(_certificate("localhost", of_server, "ca", of_ca, is_ca=False)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Place(listener.getsockname()[1], folder / "ca.pem")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT)


def handshake(context: ssl.SSLContext, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        context.wrap_socket(connection, server_hostname="localhost").close()


def test_the_form_of_a_certificate_is_not_checked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where Python's own default is strict."""
    strict = ssl.create_default_context(cafile=str(place.ca))
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(strict, place.port)
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: strict)
    handshake(client_context(str(place.ca), None, None), place.port)


def test_an_unknown_authority_is_refused_everywhere(place: Place) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
        handshake(client_context(None, None, None), place.port)


_CHILD = """
import socket, sys, types
for name in ("bridge", "bridge.settings"):  # without what the package imports: only the standard library is needed
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
from bridge.settings.tls import client_context
with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as connection:
    client_context(sys.argv[3], None, None).wrap_socket(connection, server_hostname="localhost").close()
"""


def _pythons() -> list[str]:
    versions = ("3.11", "3.12", "3.13", "3.14")
    folders = sorted((Path.home() / ".pyenv" / "versions").glob("3.1[1-9]*/bin"))
    found = [shutil.which(f"python{version}", path=str(folder)) for version in versions for folder in folders]
    paths = [sys.executable, *(shutil.which(f"python{each}") for each in versions), *found]
    return [path for path in paths if path and "/shims/" not in path]  # pyenv's shims run only the chosen version


@pytest.mark.parametrize("python", dict.fromkeys(_pythons()))
def test_every_python_accepts_the_same(place: Place, python: str) -> None:
    """Each one that this machine has."""
    command = [python, "-c", _CHILD, str(REPOSITORY), str(place.port), str(place.ca)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
