"""Python 3.13 verifies certificates more strictly: the same ones are accepted on every Python."""

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
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bridge.settings.tls import client_context
from tests.support.repository import REPOSITORY
from tests.support.waiting import TIMEOUT


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
    """The interpreters of this machine, by version."""
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
