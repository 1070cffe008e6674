"""A Java class data archive of the broker (AppCDS), written once: with it a broker starts in half the processor time.

``python -m tests.support.archive`` fetches the jars and writes the archive before the tests. Without an archive, or
with a Java that does not support it, brokers start more slowly.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from tests.support.jars import STAMP, TARGET, classpath, java, locked
from tests.support.waiting import TIMEOUT

_NAME = "classes-*.jsa"


def flags() -> list[str]:
    """Return Java's options for the archive; empty unless it was made from these jars by this Java."""
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
    """Run one broker through the usual work of tests; Java writes the archive when the broker shuts down."""
    from tests.support.broker import QUICK_START, Broker  # noqa: PLC0415 - broker.py imports flags() from here
    from tests.support.topics import create_topic, read_topic  # noqa: PLC0415

    unfinished = path.with_suffix(".new")
    recording = (*QUICK_START, f"-XX:ArchiveClassesAtExit={unfinished}")
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka", jvm=recording) as broker:
        create_topic(broker.bootstrap, "classes")
        read_topic(broker.bootstrap, "classes")
        broker.terminate(TIMEOUT)
    if unfinished.exists():
        unfinished.rename(path)
    else:
        print("no archive of the broker's classes: this Java does not write one", file=sys.stderr)


if __name__ == "__main__":
    make()
