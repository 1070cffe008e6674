"""The addresses of a server's name: connections to an address that has gone end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import closing
from typing import Any

import pytest

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.daemon.address_watch import (
    _ANSWERS,
    SPREAD,
    AddressWatch,
    KnownAddresses,
    _addresses,
    own_delay,
    watched_host,
)
from tests.fakes.raw_server import RawServer, serving
from tests.fakes.session_workers import KEY, running_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed
from tests.support.waiting import wait_until

BLUE, GREEN = frozenset({"10.0.0.1"}), frozenset({"10.0.0.2"})


def test_an_address_has_gone_after_several_answers_without_it() -> None:
    """One answer may lack it for a moment; an empty one shows nothing."""
    known = KnownAddresses()
    assert known.add(BLUE) == set()
    for _ in range(_ANSWERS - 1):
        assert known.add(GREEN) == set()
        assert known.add(frozenset()) == set()
    assert known.add(GREEN) == BLUE
    assert known.add(frozenset()) == BLUE
    assert known.add(GREEN | BLUE) == set()


def test_names_whose_answers_rotate_cost_few_reconnects() -> None:
    """An address that comes back after it had gone shows that: ever more answers are needed."""
    known, ends = KnownAddresses(), 0
    before: AbstractSet[str] = frozenset()
    for turn in range(4000):
        gone = known.add({f"10.0.0.{turn % 7}"})
        ends += len(gone - before)
        before = gone
    assert ends <= 14


def test_the_known_addresses_are_bounded() -> None:
    """A name may have a new address at each lookup."""
    known = KnownAddresses()
    for turn in range(5000):
        known.add({f"10.0.{turn // 256}.{turn % 256}"})
    assert len(known._missing) <= 257


@pytest.mark.parametrize("host", [None, "127.0.0.1", "::1"])
def test_an_address_in_the_settings_is_not_watched(host: str | None) -> None:
    """It never changes."""
    watch = AddressWatch(host)
    watch.start()
    assert not watch._thread.is_alive()
    watch.stop()


def test_a_name_that_no_resolver_accepts_does_not_end_the_watch() -> None:
    """The library refuses an empty label by another error than the resolver's."""
    lookups: list[str] = []

    def resolve(host: str) -> AbstractSet[str]:
        lookups.append(host)
        return _addresses(host)

    watch = AddressWatch("mix..example", resolve, interval=0.001)
    watch.start()
    wait_until(lambda: len(lookups) > 1)
    watch.stop()


def test_the_proxys_name_is_watched_where_there_is_one() -> None:
    """Connections are made to it."""
    assert watched_host(source("http://mix.example:8088").settings) == "mix.example"
    assert watched_host(source("http://mix.example", proxy="http://proxy.example:3128").settings) == "proxy.example"


def test_sessions_follow_a_change_one_after_the_other() -> None:
    """They must not all connect at once."""
    delays = sorted(own_delay(SessionKey("local", f"s{number}")) for number in range(200))
    assert 0 <= delays[0] < 0.1 * SPREAD < 0.9 * SPREAD < delays[-1] <= SPREAD


def resolving(addresses: list[str]) -> Callable[..., Any]:
    """A resolver whose answer for ``mix.test`` is the present content of the list."""
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        found = addresses if host == "mix.test" else [host]
        return [each for address in found for each in real(address, *arguments, **options)]

    return resolve


def test_a_connection_follows_its_name_to_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one still holds it; nothing is lost, and the new one is asked for what followed."""
    addresses = ["127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", resolving(addresses))
    new, later = Feed(3), [0.0]
    with serving(Feed(3)) as blue, closing(RawServer(new, address=("127.0.0.2", blue.port))) as green:
        one = source(f"http://mix.test:{blue.port}")
        one.address_watch = AddressWatch("mix.test", interval=0.01)
        one.address_watch.start()
        with running_worker(one, now=lambda: monotonic() + later[0]) as (worker, publisher):
            wait_until(lambda: publisher.position.sequence == 3)
            worker.check_connection(0.0)
            assert not one.address_watch.has_gone("127.0.0.1")
            addresses[:] = ["127.0.0.2"]
            wait_until(lambda: one.address_watch.has_gone("127.0.0.1"))
            worker.check_connection(0.0)
            assert len(green.peers) == 0, "each session has its own moment"
            later[0] = own_delay(KEY) + 1
            worker.check_connection(0.0)
            wait_until(lambda: len(green.peers) == 1)
            new.add(2)
            wait_until(lambda: publisher.position.sequence == 5)
            worker.check_connection(0.0)
        one.address_watch.stop()
        assert [peer.headers["last-event-id"] for peer in green.peers] == [b"2"]
        assert publisher.announced == ["attached", "resumed"]
