"""How a server is reached: TLS with certificates, proxies, paths, ids of every kind; and how the bridge itself is."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import trustme

from tests.fakes.raw_server import Peer, serving
from tests.support.process import Bridge
from tests.support.scene import accepted, bridged, settings, started, texts, wait_acknowledged
from tests.support.scripted_mix import Feed, ScriptedMix, scripted_mix
from tests.support.waiting import TIMEOUT, wait_until

ODD_IDS = ("a/b", "?x=1&", "%41", "two blanks  in it", "\N{GRINNING FACE}", '"it\'s"', "#")


class Proxy:
    """An HTTP proxy that notes what it was asked for, tunnels where it is asked to, and passes on the rest."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.credentials: set[bytes] = set()
        self.port = 0

    def serve(self, peer: Peer) -> None:
        """One connection to its end."""
        if not peer.request:
            return
        method, target, _ = peer.request.split(b"\r\n")[0].split(b" ")
        self.asked.append(method + b" " + target.split(b"?")[0])
        self.credentials.add(peer.headers.get("proxy-authorization", b""))
        tunnels = method == b"CONNECT"
        parts = urlsplit(("//" if tunnels else "") + target.decode())
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as upstream:
            if tunnels:
                peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                upstream.sendall(peer.request)
            back = threading.Thread(target=_pass_on, args=(upstream, peer.socket), daemon=True)
            back.start()
            _pass_on(peer.socket, upstream)
            back.join(TIMEOUT)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy() -> Iterator[Proxy]:
    """The proxy for the time of a test."""
    made = Proxy()
    with serving(made.serve) as server:
        made.port = server.port
        yield made


@contextmanager
def mutual_tls(folder: Path) -> Iterator[tuple[ScriptedMix, dict[str, object]]]:
    """A server that wants a client certificate, and the settings that have one."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client = authority.issue_cert("client")
    (folder / "client.pem").write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))
    client.private_key_pem.write_to_path(folder / "client.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with scripted_mix(tls=context) as mix:
        mix.serve({"a": Feed(3)})
        yield (
            mix,
            {
                "servers.local.ca_file": folder / "ca.pem",
                "servers.local.client_cert_file": folder / "client.pem",
                "servers.local.client_key_file": folder / "client.key",
            },
        )


def test_a_server_that_requires_a_certificate_works_directly_and_through_a_proxy(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Discovery and streams. The proxy sees a tunnel and its own credentials, the log neither."""
    with mutual_tls(tmp_path) as (mix, files), proxy() as tunnel:
        more = {**files, "servers.local.proxy": f"http://me:hunter2@127.0.0.1:{tunnel.port}", "log.level": "debug"}
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, "a", 3)
            assert bridge.terminate() == 0
            assert "hunter2" not in bridge.log_text()
        assert set(tunnel.asked) == {f"CONNECT {mix.url.removeprefix('https://')}".encode()}
        assert tunnel.credentials == {b"Basic " + base64.b64encode(b"me:hunter2")}
        passed = len(tunnel.asked)
        mix.streams = {"a": Feed(5)}
        with bridged(tmp_path / "direct", settings(kafka, namespace, mix.url, files)) as bridge:
            wait_acknowledged(bridge, "a", 5)
        assert len(tunnel.asked) == passed
    assert texts(kafka, namespace, "a") == ["1", "2", "3", "4", "5"]


def test_a_path_in_the_address_and_unusual_ids(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Each id reaches the server, keys, sources and the status unchanged, also after a restart."""
    with scripted_mix(prefix="/mix/v1") as mix:
        mix.list(*ODD_IDS)
        feeds = {one: Feed(2) for one in ODD_IDS}
        mix.streams = dict(feeds)
        # The slash at the end is one that people write.
        with bridged(tmp_path, settings(kafka, namespace, f"{mix.url}/")) as bridge:
            for one in ODD_IDS:
                wait_acknowledged(bridge, one, 2)
            assert bridge.terminate() == 0
            for feed in feeds.values():
                feed.add(1)
            bridge.start()
            for one in ODD_IDS:
                wait_acknowledged(bridge, one, 3)
        assert {one: mix.ids_of(one) for one in ODD_IDS} == {key: ["0", "1"] for key in ODD_IDS}
    for one in ODD_IDS:
        assert texts(kafka, namespace, one) == ["1", "2", "3"], one
        envelope = json.loads(accepted(kafka, namespace, one)[0].record.value or b"")
        assert envelope["subject"] == one
        assert envelope["source"] == f"/mix/local/sessions/{quote(one, safe='')}"


def test_the_endpoint_with_a_token_file_on_every_interface(kafka: str, namespace: str, tmp_path: Path) -> None:
    """With console logs."""
    (tmp_path / "token").write_text("open-sesame\n")
    more = {"http.token_file": tmp_path / "token", "http.host": "0.0.0.0", "log.format": "console"}
    with scripted_mix() as mix:
        bridge = Bridge(tmp_path / "bridge", settings(kafka, namespace, mix.url, more)).start(wait=False)
        with bridge:
            found = wait_until(
                lambda: re.search(r"listens.* port=(\d+)", bridge.log_text()), 20, "the port's line", 0.05
            )
            assert found is not None
            bridge._port = int(found[1])
            bridge.wait_ready()
            assert bridge.get("/metrics").status == 401
            assert bridge.get("/metrics", {"Authorization": "Bearer open-sesame"}).status == 200
            listening = Path("/proc", str(bridge.pid), "net/tcp").read_text()
            assert f"00000000:{bridge._port:04X} 00000000:0000 0A" in listening
            assert bridge.terminate() == 0
        assert re.search(r"^\S+Z \[info +\] started .*version=", bridge.log_text(), re.MULTILINE), bridge.log_text()
        assert "open-sesame" not in bridge.log_text()
        assert not bridge.log_lines()
