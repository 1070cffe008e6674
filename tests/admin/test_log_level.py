"""``mix-bridge log-level`` with HTTP endpoints of daemons and of other programs."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import trustme
from typer.testing import CliRunner

from bridge import clock
from bridge.cli.app import app
from bridge.errors import BridgeError
from bridge.observe.api import HttpEndpoint
from bridge.observe.log_levels import LogLevels
from bridge.settings.tls import ServerTls, server_context
from tests.fakes.http_endpoint import WELL
from tests.support.waiting import TIMEOUT

LOGGER = "bridge.sse"


@contextmanager
def daemon(token: str | None = None, tls: ServerTls | None = None) -> Iterator[int]:
    """The port of an endpoint whose level can be changed."""
    logging.getLogger(LOGGER).setLevel(logging.NOTSET)
    context = None if tls is None else tls.context
    endpoint = HttpEndpoint("127.0.0.1", 0, token, lambda: WELL, LogLevels("info"), context)
    try:
        yield endpoint.start()
    finally:
        logging.getLogger(LOGGER).setLevel(logging.NOTSET)
        endpoint.stop()
        assert endpoint.join(clock.monotonic() + TIMEOUT)


def run(*arguments: str, code: int, token: str | None = None) -> str:
    """The output of the command, which must end with this code."""
    env = {} if token is None else {"MIX_BRIDGE_HTTP__TOKEN": token}
    result = CliRunner().invoke(app, ["log-level", *arguments], env=env)
    ended = result.exception.exit_code if isinstance(result.exception, BridgeError) else result.exit_code
    assert ended == code, (result.output, result.exception)
    return "".join(line for line in result.output.splitlines(keepends=True) if "[warning" not in line)


def test_a_running_daemon_gets_the_level() -> None:
    """Of one logger, for the time; with the token."""
    with daemon("t") as port:
        more = ("debug", "--logger", LOGGER, "--for", "1m", "--url", f"127.0.0.1:{port}")
        assert run(*more, code=0, token="t") == f"http://127.0.0.1:{port}: level of {LOGGER} is debug for 1m\n"
        assert logging.getLogger(LOGGER).level == logging.DEBUG
        document = json.loads(run(*more, "--json", code=0, token="t"))
        assert (document["ok"], document["daemons"][0]["ok"]) == (True, True)
        assert "token" in run(*more, code=78)
        assert "token" in run(*more, code=78, token="other")


def test_a_daemon_that_is_away_or_older_is_one_line() -> None:
    """69 and 1; the others are asked nevertheless."""
    older = HttpEndpoint("127.0.0.1", 0, None, lambda: WELL)
    with daemon() as port:
        away = run("debug", "--logger", LOGGER, "--url", "127.0.0.1:1", "--url", f"127.0.0.1:{port}", code=69)
        assert len(away.splitlines()) == 2
        assert logging.getLogger(LOGGER).level == logging.DEBUG
    port = older.start()
    assert (
        run("debug", "--url", f"127.0.0.1:{port}", code=1) == f"http://127.0.0.1:{port}: it refused this: Not Found\n"
    )
    older.stop()
    assert older.join(clock.monotonic() + TIMEOUT)


@pytest.mark.parametrize(
    "wrong", [("loud",), ("debug", "--for", "soon"), ("debug", "--for", "2d"), ("debug", "--logger", "urllib3"), ()]
)
def test_a_wrong_use_asks_no_daemon(wrong: tuple[str, ...]) -> None:
    """Exit code 2."""
    run(*wrong, "--url", "127.0.0.1:1", code=2)


def test_a_daemon_with_tls_is_asked_with_its_own_certificate(tmp_path: Path) -> None:
    """The command has the daemon's settings. A new certificate is used at the next handshake, the port stays."""
    authority, file = trustme.CA(), tmp_path / "http.pem"

    def issue() -> ssl.SSLContext:
        authority.issue_cert("bridge.example.org").private_key_and_cert_chain_pem.write_to_path(str(file))
        return server_context(file, None)

    tls = ServerTls(issue())
    with daemon(tls=tls) as port:
        own = ("--set", f"http.cert_file={file}", "--set", f"http.port={port}")
        assert f"https://127.0.0.1:{port}" in run("debug", "--logger", LOGGER, *own, code=0)
        old = file.read_bytes()
        tls.present = issue()
        run("debug", "--logger", LOGGER, *own, code=0)
        file.write_bytes(old)
        assert "certificate" in run("debug", "--logger", LOGGER, *own, code=69)
        with pytest.raises(requests.RequestException):
            requests.get(f"http://127.0.0.1:{port}/livez", timeout=TIMEOUT)
