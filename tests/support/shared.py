"""One broker for all workers of a test run: the first one starts it, the last one's end is its end.

Everybody who uses the broker holds a shared lock on one file. A keeper process owns the broker and waits for the
exclusive lock: it gets it when the last user is gone, and the kernel counts users even when they are killed.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.broker import Broker, answering
from tests.support.jars import classpath, locked
from tests.support.waiting import wait_until

_REPOSITORY = Path(__file__).parents[2]
_NULL = subprocess.DEVNULL

# 9 s is Kafka's own default: nobody restarts the shared broker, and it must not fence itself on a busy machine.
_PROPERTIES = {"broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "2000"}


@contextmanager
def shared_broker(root: Path) -> Iterator[str]:
    """The bootstrap address of the run's broker, which lives at least as long as this context.

    ``root`` is a folder that all processes of the run name alike.
    """
    root.mkdir(parents=True, exist_ok=True)
    classpath()  # before the locks and the deadline: the first fetch can take its time
    with (root / "users").open("w") as users:
        with locked(root / "starting"):
            fcntl.flock(users, fcntl.LOCK_SH)  # waits when a keeper is just putting its broker away
            if not _address(root).exists():
                _start_keeper(root)
        bootstrap = _address(root).read_text()
        answering(bootstrap)
        yield bootstrap


def _address(root: Path) -> Path:
    return root / "bootstrap"


def _start_keeper(root: Path) -> None:
    failed = root / "failed"
    failed.unlink(missing_ok=True)
    keeper = [sys.executable, "-m", "tests.support.shared", str(root)]
    # Apart from this process and nobody's child: it may have to live longer than this worker.
    with (root / "keeper.log").open("ab") as log:
        subprocess.run(["setsid", "--fork", *keeper], check=True, cwd=_REPOSITORY, stdin=_NULL, stdout=log, stderr=log)

    def started() -> bool:
        if failed.exists():
            raise RuntimeError(f"no shared broker:\n{failed.read_text()}")
        return _address(root).exists()

    wait_until(started, 90, f"the shared broker, see {root}", 0.05)


def keep(root: Path) -> None:
    """Own the broker until nobody uses it. Called in the keeper process, while its first user holds the lock."""
    with Broker(root / "broker", properties=_PROPERTIES) as broker, (root / "users").open("w") as users:
        unfinished = root / "bootstrap.new"
        unfinished.write_text(broker.bootstrap)
        unfinished.rename(_address(root))
        fcntl.flock(users, fcntl.LOCK_EX)
        _address(root).unlink()
        broker.remove()  # before the lock is let go of: the next user finds nothing half


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    try:
        keep(folder)
    except BaseException:
        (folder / "failed").write_text(traceback.format_exc())
        raise
