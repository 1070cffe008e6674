"""One broker for all workers of a test run: the first worker starts it, and it ends with the last one.

Each user of the broker holds a shared lock on one file. A keeper process owns the broker and waits for the exclusive
lock, which it gets when the last user has ended: the kernel releases the locks of killed processes too.
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
from tests.support.repository import REPOSITORY
from tests.support.waiting import wait_until

_NULL = subprocess.DEVNULL

# Kafka's own defaults: no test restarts the shared broker, and the controller must not fence it on a busy machine.
# Unlike the tests' own brokers, it creates a topic for every client that does not forbid it.
_PROPERTIES = {
    "broker.session.timeout.ms": "9000",
    "broker.heartbeat.interval.ms": "2000",
    "auto.create.topics.enable": "true",
}


@contextmanager
def shared_broker(root: Path) -> Iterator[str]:
    """Yield the bootstrap address of the run's broker, which lives at least as long as this context.

    ``root`` is a folder that all processes of the run share.
    """
    root.mkdir(parents=True, exist_ok=True)
    classpath()  # before the locks and the timeout: the first fetch takes long
    with (root / "users").open("w") as users:
        with locked(root / "starting"):
            fcntl.flock(users, fcntl.LOCK_SH)  # waits while a keeper removes its broker
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
    # Not a child of this process: it may have to live longer than this worker.
    with (root / "keeper.log").open("ab") as log:
        subprocess.run(["setsid", "--fork", *keeper], check=True, cwd=REPOSITORY, stdin=_NULL, stdout=log, stderr=log)

    def started() -> bool:
        if failed.exists():
            raise RuntimeError(f"no shared broker:\n{failed.read_text()}")
        return _address(root).exists()

    wait_until(started, 90, f"the shared broker, see {root}", 0.05)


def keep(root: Path) -> None:
    """Run the broker until its last user ends. Called in the keeper process, while its first user holds the lock."""
    with Broker(root / "broker", properties=_PROPERTIES) as broker, (root / "users").open("w") as users:
        unfinished = root / "bootstrap.new"
        unfinished.write_text(broker.bootstrap)
        unfinished.rename(_address(root))
        fcntl.flock(users, fcntl.LOCK_EX)
        _address(root).unlink()
        broker.remove()  # before the lock is released: the next user must not find remains


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    try:
        keep(folder)
    except BaseException:
        (folder / "failed").write_text(traceback.format_exc())
        raise
