"""The sockets of the HTTP endpoint: IPv6 and IPv4, and all addresses of a host name."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bridge.errors import SettingsError
from bridge.http.listening import listen


@contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    """The sockets, closed at the end."""
    opened = listen(host, port)
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def answers(host: str, port: int) -> bool:
    """Whether a connection to this address is accepted."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_an_address_listens_there_only() -> None:
    with listening("127.0.0.1") as (only,):
        port = only.getsockname()[1]
        assert answers("127.0.0.1", port)
        assert not answers("127.0.0.2", port)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_the_image_listens_on_both_families() -> None:
    with listening("::") as opened:
        port = opened[0].getsockname()[1]
        assert {each.getsockname()[1] for each in opened} == {port}
        assert answers("127.0.0.1", port)
        assert answers("::1", port)


def test_without_ipv6_it_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses sockets of a family that it was started without (ipv6.disable=1)."""
    real = socket.socket

    class WithoutIpv6(real):  # type: ignore[misc, valid-type]
        def __init__(self, family: int = -1, *arguments: Any, **options: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *arguments, **options)

    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    with listening("::") as (only,):
        port = only.getsockname()[1]
        monkeypatch.undo()
        assert answers("127.0.0.1", port)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """``two.test`` has two addresses of this machine and one of another; ``none.test`` only that."""
    real = socket.getaddrinfo
    known = {"two.test": ("203.0.113.9", "127.0.0.3", "127.0.0.4"), "none.test": ("203.0.113.9",)}

    def look_up(host: str, port: int, *arguments: Any, **options: Any) -> Any:
        hosts = known.get(host, (host,))
        return [found for each in hosts for found in real(each, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.usefixtures("names")
def test_a_host_name_listens_on_all_its_addresses() -> None:
    """Of this machine; with one port, also if the system chooses it."""
    with listening("two.test") as opened:
        port = opened[0].getsockname()[1]
        assert [each.getsockname() for each in opened] == [("127.0.0.3", port), ("127.0.0.4", port)]
        assert answers("127.0.0.3", port)
        assert answers("127.0.0.4", port)


@pytest.mark.usefixtures("names")
def test_a_port_in_use_at_one_address_is_an_error() -> None:
    """The others would hide that probes reach another program."""
    with socket.create_server(("127.0.0.4", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match="another program uses port"):
            listen("two.test", port)
        assert not answers("127.0.0.3", port)


@pytest.mark.usefixtures("names")
def test_a_host_of_another_machine_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on none\.test: Cannot assign requested address; give"):
        listen("none.test", 0)
