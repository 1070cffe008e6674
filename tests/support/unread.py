"""A bridge whose stderr is a pipe that is full and that nobody reads."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import MIX_BRIDGE, Bridge
from tests.support.waiting import wait_until


@contextmanager
def full_pipe(path: Path) -> Iterator[int]:
    """A named pipe that is full: a further write waits for ever. Yields a descriptor to read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        while True:
            os.write(descriptor, b"x" * 4096)
    except BlockingIOError:
        yield descriptor
    finally:
        os.close(descriptor)


class UnreadBridge(Bridge):
    """Its port is given, because its log cannot be read. Make the pipe ``bridge.log`` in its folder first."""

    def __init__(self, folder: Path, chosen: Mapping[str, object], program: Sequence[str] = MIX_BRIDGE) -> None:
        super().__init__(folder, {**chosen, "http.port": _free_port(), "log.level": "debug"}, program)

    def wait_listening(self, deadline: float = 30.0) -> None:
        """Return once its HTTP endpoint listens."""
        self._port = int(str(self.settings["http.port"]))
        wait_until(self._answers, deadline, "its HTTP endpoint")

    def _answers(self) -> bool:
        self._must_run()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(str(self.settings["http.port"])))) == 0

    def log_text(self) -> str:
        """Nothing: to read it would empty the pipe."""
        return ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
