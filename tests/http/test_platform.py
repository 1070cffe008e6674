"""Another platform lacks some of Linux's options: they are left out."""

from __future__ import annotations

import subprocess
import sys

from tests.support.repository import REPOSITORY
from tests.support.waiting import TIMEOUT

# What macOS has not, and the name that it has instead.
_CHILD = """
import ctypes, resource, socket, time
for module, name in ((time, "CLOCK_BOOTTIME"), (socket, "TCP_KEEPIDLE"), (socket, "TCP_USER_TIMEOUT")):
    delattr(module, name)
socket.TCP_KEEPALIVE = 4  # of Linux: TCP_KEEPIDLE

from bridge.clock import monotonic
from bridge.daemon.limits import prepare_process
from bridge.http.connection import Cutter, socket_options
from bridge.http.transport import Transport
from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.options import ServerOptions

before = monotonic()
prepare_process()
options = socket_options(100)
assert (socket.IPPROTO_TCP, 4, 25) in options, options
server = MixServer(ServerOptions(port=0, sessions=1, rate=1, seed=1))
url = server.start()
response = Transport(5, 5, None, None).get(url + "/api/sessions", {}, Cutter())
print(response.status, monotonic() >= before)
response.close()
server.stop()
"""


def test_a_stream_can_be_read_without_the_options_of_linux() -> None:
    """A request to a real server, in an interpreter without these names."""
    command = [sys.executable, "-c", _CHILD]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.stdout, done.returncode) == ("200 True\n", 0), done.stderr
