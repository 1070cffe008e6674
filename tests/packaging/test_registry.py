"""The packaging tests are skipped only where the registry cannot be reached at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.packaging.registry import cannot_connect


class _Unavailable(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        """Write nothing to stderr."""


@contextmanager
def _broken_server() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Unavailable) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _only(port: int) -> dict[str, str]:
    """Variables that make pip use the registry on this port, and nothing else."""
    return {
        "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def test_a_port_that_refuses_connections_cannot_be_reached(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port, and it refuses connections
        bound.bind(("127.0.0.1", 0))
        assert cannot_connect(tmp_path, **_only(bound.getsockname()[1]))


def test_a_registry_that_answers_with_errors_can_be_reached(tmp_path: Path) -> None:
    with _broken_server() as port:
        assert not cannot_connect(tmp_path, **_only(port))
