"""A process that has imported the bridge, and forks a child for each command: a child starts without any imports.

``python -m tests.support.fork_server FD``; the descriptor is the socket of ``tests.support.forked``. A start of the
bridge takes half a second of processor time, nearly all of it for imports, and the tests start it hundreds of times.
"""

from __future__ import annotations

import ctypes
import gc
import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import time
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

_IMPORTED = (
    "bridge.admin.check.checkup",
    "bridge.admin.dead_letters.replay",
    "bridge.admin.verify.audit",
    "bridge.cli.app",
    "bridge.cli.logs",
    "bridge.daemon.process",
    "bridge.simulator.server.mix_server",
)
_PR_SET_PDEATHSIG = 1
_LARGEST = 2**20
_DESCRIPTORS = 4
"""Of a request: the standard ones, and the socket for the child's id and exit code."""


class Command(NamedTuple):
    """What a child runs."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str


def serve(control: socket.socket) -> Command | None:
    """Fork a child for each request until the tests end; return the command in a child, and None at the end."""
    children: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for ready, _ in selector.select():
                if ready.fileobj is not control:
                    selector.unregister(ready.fd)
                    _report(ready.fd, *children.pop(ready.fd))
                    continue
                request, descriptors, _, _ = socket.recv_fds(control, _LARGEST, _DESCRIPTORS)
                if not request:
                    return None
                reply = socket.socket(fileno=descriptors.pop())
                child = os.fork()
                if not child:
                    for each in (reply, *(other for _, other in children.values())):
                        each.close()
                    return _prepared(json.loads(request), descriptors)
                reply.send(str(child).encode())
                for descriptor in descriptors:
                    os.close(descriptor)
                ended = os.pidfd_open(child)
                children[ended] = (child, reply)
                selector.register(ended, selectors.EVENT_READ)


def _report(ended: int, child: int, reply: socket.socket) -> None:
    os.close(ended)
    _, status = os.waitpid(child, 0)
    with reply, suppress(OSError):  # the test may be over
        reply.send(str(os.waitstatus_to_exitcode(status)).encode())


def _prepared(request: dict[str, Any], descriptors: list[int]) -> Command:
    """Give the child its own standard streams, environment and folder."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for standard, given in enumerate(descriptors):
        os.dup2(given, standard)
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(open(0, "rb", closefd=False))  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _written(1, line_buffering=os.isatty(1))  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _written(2, line_buffering=True)  # type: ignore[misc]
    command = Command(**request)
    os.environ.clear()
    os.environ.update(command.environment)
    time.tzset()
    if "PYTHONWARNINGS" in os.environ:
        warnings.simplefilter(os.environ["PYTHONWARNINGS"])  # type: ignore[arg-type]
    os.chdir(command.folder)
    return command


def _written(number: int, *, line_buffering: bool) -> io.TextIOWrapper:
    errors = "backslashreplace" if number == 2 else "strict"  # as Python's own
    return io.TextIOWrapper(open(number, "wb", closefd=False), errors=errors, line_buffering=line_buffering)


def main() -> None:
    """Serve; in a child, run its command as ``python -m`` does."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for each in _IMPORTED:
        import_module(each)
    gc.freeze()  # no child copies the pages of these objects when it collects garbage
    command = serve(control)
    control.detach()
    if command is not None:
        os.closerange(3, 2**16)
        sys.argv[1:] = command.arguments
        runpy.run_module(command.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
