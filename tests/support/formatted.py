"""The data folder of a new broker, as Kafka's StorageTool formats it.

The tool takes over a second of processor time for each broker. All it writes, except for the ids, is the same for all
of them, so it runs once and its ``bootstrap.checkpoint`` is copied.
"""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from tests.support.jars import STAMP, TARGET, classpath, java, locked

_CHECKPOINT = "bootstrap.checkpoint"
_SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:1
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
"""


def new_id() -> str:
    """Return an id of a cluster or a folder, as Kafka writes them."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "a", 1)


def format_data(topics: Path, metadata: Path, cluster_id: str, node: int) -> None:
    """Write what a broker needs to start with empty folders; both can be the same."""
    for folder in (topics, metadata):
        folder.mkdir(parents=True, exist_ok=True)
        lines = ("version=1", f"cluster.id={cluster_id}", f"node.id={node}", f"directory.id={new_id()}")
        (folder / "meta.properties").write_text("\n".join(lines) + "\n")
    (metadata / _CHECKPOINT).write_bytes(_bootstrap_checkpoint())


def _bootstrap_checkpoint() -> bytes:
    jars = classpath()
    kept = TARGET / f"{STAMP.stat().st_mtime_ns}.{_CHECKPOINT}"
    with locked(TARGET / ".format-lock"):
        if not kept.exists():
            for old in TARGET.glob(f"*.{_CHECKPOINT}"):
                old.unlink()
            unfinished = kept.with_suffix(".new")
            unfinished.write_bytes(_by_the_tool(jars))
            unfinished.rename(kept)
        return kept.read_bytes()


def _by_the_tool(jars: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        settings, data = Path(folder, "server.properties"), Path(folder, "data")
        settings.write_text(_SETTINGS.format(data=data))
        tool = [java(), "-cp", jars, "kafka.tools.StorageTool", "format", "-t", new_id(), "-c", str(settings)]
        done = subprocess.run(tool, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError(f"the broker's data folder could not be formatted:\n{done.stdout}{done.stderr}")
        return (data / _CHECKPOINT).read_bytes()
