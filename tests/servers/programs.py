"""The commands of the third-party servers, and their packages, fetched once by npm, Go or Maven."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.npm import fetch
from tests.support.optional import missing

HERE = Path(__file__).parent
GO = "the Go servers need Go 1.24 or newer"
NGINX = "nchan needs nginx, for example: apt-get install nginx-light libnginx-mod-nchan"
SPRING = "the Spring server needs Java 17 and Maven, for example: apt-get install openjdk-17-jdk-headless maven"

Command = Sequence[str | Path]


class Program(NamedTuple):
    """How to start a server."""

    command: Command
    url: str = ""
    """Its address; empty: a line of its output has it."""


def node(library: str) -> Program:
    """Return the Node server with this library."""
    fetch(HERE / "node")
    return Program(["node", HERE / "node" / "server.js", library])


def starlette() -> Program:
    """Return the server with sse-starlette."""
    return Program([sys.executable, HERE / "python" / "sse_starlette_server.py"])


def go(library: str) -> Program:
    """Return the Go server with this library."""
    _need(GO, "go")
    _once(HERE / "go", ["main.go", "go.sum"], "go", "build", "-o", "target/servers", ".")
    return Program([HERE / "go" / "target" / "servers", library])


def load_server() -> Program:
    """Return the load server of the benchmarks."""
    _need(GO, "go")
    folder = HERE.parent / "benchmarks" / "load_server"
    _once(folder, ["main.go"], "go", "build", "-o", "target/load_server", ".")
    return Program([folder / "target" / "load_server"])


def spring() -> Program:
    """Return the server with Spring's SseEmitter."""
    _need(SPRING, "java", "mvn")
    _once(HERE / "spring", ["pom.xml", "src/main/java/servers/Server.java"], "mvn", "-q", "-B", "package")
    options = ["--server.port=0", "--server.address=127.0.0.1", "--spring.main.banner-mode=off"]
    return Program(["java", "-jar", HERE / "spring" / "target" / "server.jar", *options])


def nchan(folder: Path) -> Program:
    """Return nginx with nchan, with its configuration in ``folder``."""
    _need(NGINX, "nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (HERE / "nginx" / "nchan.conf").read_text()
    configuration = folder / "nginx.conf"
    configuration.write_text(text.replace("FOLDER", str(folder)).replace("PORT", str(port)))
    return Program(["nginx", "-p", folder, "-c", configuration], f"http://127.0.0.1:{port}")


def _need(text: str, *programs: str) -> None:
    if not all(map(shutil.which, programs)):
        missing(text)


def _once(folder: Path, sources: Sequence[str], *command: str) -> None:
    """Run the command unless it ran for these sources. Safe for several processes at once."""
    done = folder / "target" / ".done-for"
    done.parent.mkdir(exist_ok=True)
    with (folder / sources[0]).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(b"".join((folder / source).read_bytes() for source in sources)).hexdigest()
        if not done.exists() or done.read_text() != wanted:
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if run.returncode != 0:
                raise RuntimeError(f"{' '.join(command)} ended with {run.returncode}:\n{run.stdout}{run.stderr}")
            done.write_text(wanted)
