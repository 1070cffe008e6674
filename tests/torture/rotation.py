"""Replaces the certificates and tokens of the server and of the HTTP endpoint while events flow."""

from __future__ import annotations

import json
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from typing import Any

import trustme

from tests.fakes.raw_server import Peer
from tests.support.mutual_tls import MutualTls, serial_of
from tests.support.process import Bridge
from tests.support.rule import follow
from tests.support.scene import events, settings, wait_logged
from tests.support.scripted_mix import Feed, ScriptedMix, scripted_mix
from tests.support.waiting import TIMEOUT, wait_until
from tests.torture.run import Place

_STREAMS = 20
_PAUSE = 0.05
"""Seconds between two events of each stream: 400 events a second in all."""
_RECONNECTED = 60.0
"""Seconds within which a new token is used."""
_OVERLAP = 75.0
"""Seconds, and some more, for which the former token of the endpoint is valid."""


def rotated(place: Place, times: int) -> None:
    """Replace everything so often; raises AssertionError when an event is missing, or a scrape fails."""
    place.folder.mkdir(parents=True, exist_ok=True)
    mutual = MutualTls(place.folder)
    with scripted_mix(tls=mutual.context) as mix, _Rotation(place, mix, mutual).running() as rotation:
        for number in range(times):
            rotation.server_certificates()
            rotation.server_token(f"hunter2-server-{number}")
            rotation.endpoint_certificate()
            rotation.endpoint_token(f"hunter2-endpoint-{number}")
        rotation.finish()
    row = f"{rotation.count * _STREAMS:,} of {_STREAMS} sessions"
    what = "certificates and tokens of the server and of the endpoint replaced"
    print(f"| {what} | {times} | {row} | 0 | 0 | 0 | | {rotation.scrapes:,} scrapes answered |", flush=True)


class _Rotation:
    def __init__(self, place: Place, mix: ScriptedMix, mutual: MutualTls) -> None:
        self._place, self._mix, self._mutual = place, mix, mutual
        self._feeds = {f"s{number}": Feed(1) for number in range(_STREAMS)}
        self._serials: dict[str, int] = {}
        mix.serve({name: self._noting(name, feed) for name, feed in self._feeds.items()})
        files = [place.folder / name for name in ("token", "http-token", "http.pem")]
        self._token, self._http_token, self._http_pem = files
        self._valid = "hunter2-endpoint"
        """The token that the bridge knows."""
        self._token.write_text("hunter2-server")
        self._http_token.write_text(self._valid)
        self._authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authorities.check_hostname = False
        self._write_http()
        more = {
            **mutual.settings(),
            "servers.local.token_file": self._token,
            "http.token_file": self._http_token,
            "http.cert_file": self._http_pem,
        }
        chosen = settings(place.kafka, place.namespace, mix.url, more)
        self._bridge = Bridge(place.folder / "bridge", chosen)
        self._ending = threading.Event()
        self.count = 1
        """Events of each stream so far."""
        self.scrapes = 0
        self._failed: list[object] = []

    @contextmanager
    def running(self) -> Iterator[_Rotation]:
        """The bridge with its load, and somebody who scrapes it all the time."""
        with self._bridge.start():
            threads = [threading.Thread(target=each, daemon=True) for each in (self._load, self._scrape)]
            for each in threads:
                each.start()
            try:
                self._wait_flow()
                yield self
            finally:
                self._ending.set()

    def server_certificates(self) -> None:
        """A broken file is reported and not used; then another authority, on both sides."""
        self._mutual.cert_file.write_text("broken")
        self._reload("settings not reloaded", "servers.local.client_")
        self._cut()
        self._mutual.replace()
        self._reload("settings reloaded", "servers.local.ca_file")
        self._cut()
        self._wait(lambda: set(self._serials.values()) == {self._mutual.serial}, "the new certificate", _RECONNECTED)
        self._wait_flow()

    def server_token(self, token: str) -> None:
        """The streams reconnect by themselves before the server refuses the former one."""
        self._token.write_text(token)
        asked = len(self._mix.asked)
        self._reload("settings reloaded", "servers.local.token_file")

        def renewed() -> set[str]:
            return {
                each.session
                for each in self._mix.asked[asked:]
                if each.headers["authorization"].endswith(token.encode())
            }

        self._wait(lambda: renewed() == set(self._feeds), "all streams with the new token", _RECONNECTED)
        self._mix.token = token
        self._cut()
        self._wait_flow()

    def endpoint_certificate(self) -> None:
        """Later connections use it."""
        before = self._certificate()
        self._write_http()
        self._reload("settings reloaded", "http.cert_file")
        self._wait(lambda: self._certificate() != before, "the new certificate of the endpoint")

    def endpoint_token(self, token: str) -> None:
        """Both are valid for a minute."""
        self._http_token.write_text(token)
        self._reload("settings reloaded", "http.token_file")
        former, self._valid = self._valid, token
        assert (self._get("/metrics", token)[0], self._get("/metrics", former)[0]) == (200, 200)
        self._wait(lambda: self._get("/metrics", former)[0] == 401, "the end of the former token", _OVERLAP)

    def finish(self) -> None:
        """Compare what arrived."""
        self._ending.set()
        self._wait_flow()
        assert self._failed == []
        assert self._bridge.terminate() == 0
        accepted = follow(events(self._place.kafka, self._place.namespace)).by_key()
        for name in self._feeds:
            found = [json.loads(each.data)["content"] for each in accepted[f"local/{name}"]]
            assert found == [str(number) for number in range(1, self.count + 1)], (name, len(found), self.count)

    def _noting(self, name: str, feed: Feed) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            self._serials[name] = serial_of(peer)
            feed(peer)

        return script

    def _load(self) -> None:
        while not self._ending.wait(_PAUSE):
            for feed in self._feeds.values():
                feed.add(1)
            self.count += 1

    def _scrape(self) -> None:
        while not self._ending.wait(_PAUSE):
            code, text = self._get("/metrics", self._valid)
            self.scrapes += 1
            if code != 200 and not self._ending.is_set():
                self._failed.append((code, text[:200]))

    def _write_http(self) -> None:
        authority = trustme.CA()
        authority.configure_trust(self._authorities)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(self._http_pem))

    def _connection(self) -> HTTPSConnection:
        port = int(self._bridge.url.rpartition(":")[2])
        return HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=self._authorities)

    def _get(self, path: str, token: str) -> tuple[int, str]:
        connection = self._connection()
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _certificate(self) -> bytes | None:
        connection = self._connection()
        connection.connect()
        try:
            return connection.sock.getpeercert(binary_form=True)
        finally:
            connection.close()

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._get("/api/status", self._valid)[1])
        return found

    def _wait_flow(self) -> None:
        """Wait until all events of this moment are acknowledged."""
        least = self.count
        self._wait(
            lambda: all(each["acknowledged_sequence"] >= least for each in self._sessions()), "all events", _RECONNECTED
        )

    def _sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._status()["sessions"]
        return found if len(found) == _STREAMS else [{"acknowledged_sequence": -1}]

    def _cut(self) -> None:
        for feed in self._feeds.values():
            feed.cut()
        self._wait_flow()

    def _reload(self, *words: str) -> None:
        seen = self._bridge.log_text().count(words[0])
        self._bridge.send(signal.SIGHUP)
        self._wait(lambda: self._bridge.log_text().count(words[0]) > seen, "the reload")
        wait_logged(self._bridge, *words)

    def _wait(self, condition: Callable[[], bool], what: str, deadline: float = 20.0) -> None:
        wait_until(condition, deadline, f"{what}, see {self._bridge.log}", 0.2)
