"""Client quotas of a real Kafka, set with Kafka's own tool: the Python client has no request for them."""

from __future__ import annotations

import subprocess

from tests.support.jars import classpath, java
from tests.support.waiting import TIMEOUT


def limit_producer(bootstrap: str, client_id: str, bytes_per_second: int) -> None:
    """Let clients with this ``client.id`` write only so many bytes per second, from now on."""
    entity = ["--entity-type", "clients", "--entity-name", client_id]
    change = ["--alter", "--add-config", f"producer_byte_rate={bytes_per_second}"]
    command = [java(), "-cp", classpath(), "kafka.admin.ConfigCommand", "--bootstrap-server", bootstrap]
    subprocess.run([*command, *entity, *change], check=True, timeout=2 * TIMEOUT, capture_output=True)
