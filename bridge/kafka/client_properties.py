"""The properties of all Kafka clients of one process, which follow rotated passwords and certificates."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import wait
from functools import partial
from typing import IO, Any
from weakref import WeakSet

from structlog.stdlib import get_logger

from bridge.kafka.config import Authenticated, LiveConfig, admin_client, client_config, in_thread
from bridge.settings.model import KafkaSettings

log = get_logger("bridge.kafka")

_FILES = {
    "ssl.ca.location": "ssl_ca_file",
    "ssl.certificate.location": "ssl_cert_file",
    "ssl.key.location": "ssl_key_file",
}
"""The properties that name files, and the settings that they come from."""
_LOGIN = ("sasl.username", "sasl.password")
_LOG_IN = 1.0
"""Seconds to wait until all clients have a new login."""
_GENERATIONS = 3
"""Generations of files that stay open: a client that is being made may still read those before the last."""


class ClientProperties:
    """librdkafka's properties, as the settings give them now.

    Clients read the certificates when they are made, and one is made at any time (a producer after a fatal error). So
    the contents that were checked are kept in memory, and a broken file cannot end the process later. Thread rule: any
    thread.
    """

    def __init__(self, settings: KafkaSettings, contents: Mapping[str, bytes] | None = None) -> None:
        """``contents``: of the files, by the name of the setting; without them, clients read the files themselves."""
        self._lock = threading.Lock()
        self._clients: WeakSet[Any] = WeakSet()
        self._open: deque[list[IO[bytes]]] = deque(maxlen=_GENERATIONS)
        self._contents = dict(contents or {})
        self._values, files = _properties(settings, self._contents)
        self._open.append(files)

    def of(self, client_id: str, **more: str) -> LiveConfig:
        """The configuration of one kind of client; ``more``: further properties, with ``_`` for ``.``."""
        own = {name.replace("_", "."): value for name, value in more.items()}
        return LiveConfig(self.now, self.follow, {"client.id": client_id} | own)

    def now(self) -> dict[str, Any]:
        """The present properties: passwords included, so never for logs."""
        with self._lock:
            return dict(self._values)

    def check(self, settings: KafkaSettings, contents: Mapping[str, bytes]) -> None:
        """Raise ``SettingsError`` if no client could be made with these."""
        values, _files = _properties(settings, contents)  # the files stay open until the client has read them
        admin_client(values | {"client.id": "mix-bridge"})

    def replace(self, settings: KafkaSettings, contents: Mapping[str, bytes]) -> bool:
        """Use these from now on. Returns whether present clients must be replaced: only a login changes in a client."""
        values, files = _properties(settings, contents)
        with self._lock:
            self._open.append(files)
            before, self._values = self._values, values
            clients = tuple(self._clients)
        if _login(values) != _login(before):
            wait([in_thread(partial(_log_in, client, values)) for client in clients], _LOG_IN)
        has_new_files, self._contents = contents != self._contents, dict(contents)
        others = (before.keys() | values.keys()) - {*_LOGIN, *_FILES}
        return has_new_files or any(before.get(name) != values.get(name) for name in others)

    def follow(self, client: Authenticated, made_with: Mapping[str, Any]) -> None:
        """Give this client later logins too, for as long as it lives."""
        with self._lock:
            self._clients.add(client)
            values = self._values
        if _login(made_with) != _login(values):  # it changed while the client was made
            _log_in(client, values)


def _properties(settings: KafkaSettings, contents: Mapping[str, bytes]) -> tuple[dict[str, Any], list[IO[bytes]]]:
    """The properties, and the files in memory that they name."""
    values = client_config(settings, "")
    del values["client.id"]
    files = {name: _in_memory(contents[key]) for name, key in _FILES.items() if name in values and key in contents}
    paths = {name: f"/proc/self/fd/{file.fileno()}" for name, file in files.items()}
    return values | paths, list(files.values())


def _login(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in _LOGIN)


def _log_in(client: Authenticated, values: Mapping[str, Any]) -> None:
    """Give a client the login.

    The client's own call may wait for a connection that authenticates at the same moment, even without end (observed
    with a group consumer): after it set the login, ``rd_kafka_sasl_set_credentials`` wakes all broker threads, and
    takes the lock of each for that. No issue of librdkafka describes it. So each client has a thread for it: the login
    is set even when the call hangs, the caller waits for a second at most, and the other clients not at all.
    """
    username, password = _login(values)
    if username is None or password is None:
        return
    try:
        client.set_credentials(username, password)
    except Exception as error:  # noqa: BLE001 - a client that was closed meanwhile; the others must get the login
        log.debug("a Kafka client does not take the new password", error=type(error).__name__)


def _in_memory(content: bytes) -> IO[bytes]:
    file = os.fdopen(os.memfd_create("mix-bridge-kafka", os.MFD_CLOEXEC), "wb", buffering=0)
    file.write(content)
    return file
