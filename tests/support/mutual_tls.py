"""A server that wants a client certificate, the files of its client, and the replacement of both."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme
from cryptography import x509

from tests.fakes.raw_server import Peer


class MutualTls:
    """``context`` is for the server; the client's files are in the folder."""

    def __init__(self, folder: Path) -> None:
        self.ca_file, self.cert_file, self.key_file = (folder / name for name in ("ca.pem", "client.pem", "client.key"))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.serial = 0
        """Of the client's present certificate."""
        self.replace()

    def settings(self, server: str = "local") -> dict[str, object]:
        """The settings of a bridge that uses the files."""
        files = {"ca_file": self.ca_file, "client_cert_file": self.cert_file, "client_key_file": self.key_file}
        return {f"servers.{server}.{name}": str(path) for name, path in files.items()}

    def replace(self) -> None:
        """Give both sides certificates of a new authority; later connections of the client trust no other."""
        authority = trustme.CA()
        client = authority.issue_cert("client")
        authority.configure_trust(self.context)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.context)
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.cert_file.write_bytes(b"".join(each.bytes() for each in client.cert_chain_pems))
        client.private_key_pem.write_to_path(str(self.key_file))
        self.serial = x509.load_pem_x509_certificate(client.cert_chain_pems[0].bytes()).serial_number


def serial_of(peer: Peer) -> int:
    """The serial number of the certificate that the client has shown."""
    assert isinstance(peer.socket, ssl.SSLSocket)
    found = peer.socket.getpeercert()
    assert found
    return int(str(found["serialNumber"]), 16)
