"""The broker's classes as Java has them in memory, written once: a broker then starts with half the processor time.

``python -m tests.support.archive`` fetches the jars and writes it, ahead of the tests. Without it, or with a Java that
does not know how, brokers start as they are.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from tests.support.jars import STAMP, TARGET, classpath, java, locked

_NAME = "classes-*.jsa"


def flags() -> list[str]:
    """What Java is told when there is an archive of just these jars, made by just this Java."""
    path = _path()
    return [f"-XX:SharedArchiveFile={path}"] if path.exists() else []


def _path() -> Path:
    program = Path(java()).resolve()
    made_of = f"{program} {program.stat().st_mtime_ns} {STAMP.stat().st_mtime_ns}"
    return TARGET / _NAME.replace("*", hashlib.sha256(made_of.encode()).hexdigest()[:16])


def make() -> None:
    """Write the archive when there is none. Safe for several processes at once."""
    classpath()
    with locked(TARGET / ".archive-lock"):
        if not _path().exists():
            for old in TARGET.glob(_NAME):
                old.unlink()
            _write(_path())


def _write(path: Path) -> None:
    """Let one broker do what brokers do in tests, and end in order: that is when Java writes."""
    from tests.support.broker import QUICK_START, Broker  # noqa: PLC0415 - which asks for flags() here
    from tests.support.topics import create_topic, read_topic  # noqa: PLC0415

    unfinished = path.with_suffix(".new")
    recording = (*QUICK_START, f"-XX:ArchiveClassesAtExit={unfinished}")
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka", jvm=recording) as broker:
        create_topic(broker.bootstrap, "classes")
        read_topic(broker.bootstrap, "classes")
        broker.terminate(60)
    if unfinished.exists():
        unfinished.rename(path)
    else:
        print("no archive of the broker's classes: this Java does not write one", file=sys.stderr)


if __name__ == "__main__":
    make()
