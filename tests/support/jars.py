"""The broker's jars: Maven fetches them once, for the first process that needs them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
TARGET = HERE / "target"
JARS = TARGET / "dependency"
STAMP = JARS / ".fetched-for"
INSTALL = "the real Kafka needs Java 17 and Maven, for example: apt-get install openjdk-17-jre-headless maven"


class MissingTool(RuntimeError):
    """A program that the real Kafka needs is not installed."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; the kernel releases it when this process ends, even by a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def java() -> str:
    """Return the path of the java command; MissingTool names the packages to install."""
    return _tool("java")


def classpath() -> str:
    """Return the class path of the broker; fetch the jars when they are missing or pom.xml has changed.

    Safe for several processes at once: one fetches, the others wait for it.
    """
    with locked(TARGET / ".lock"):
        if not STAMP.exists() or STAMP.read_text() != _wanted():
            _fetch()
    return f"{JARS}/*"


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise MissingTool(f"{name} not found; {INSTALL}")
    return path


def _wanted() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def _fetch() -> None:
    shutil.rmtree(JARS, ignore_errors=True)
    command = [_tool("mvn"), "-q", "-B", "-ntp", "-f", str(POM), "dependency:copy-dependencies"]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if fetched.returncode != 0:
        raise RuntimeError(f"Maven could not fetch the broker's jars:\n{fetched.stdout}{fetched.stderr}")
    STAMP.write_text(_wanted())
