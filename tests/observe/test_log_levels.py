"""The log level at run time: for a limited time, over HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from bridge.observe.api import HttpEndpoint
from bridge.observe.log_levels import LevelChange, LogLevels
from bridge.observe.operator_routes import BadChange, is_loopback, parse_change
from bridge.observe.tokens import OVERLAP, Tokens
from tests.fakes.http_endpoint import WELL, listening
from tests.support.waiting import TIMEOUT


@dataclass
class Now:
    """A clock that a test moves."""

    at: float = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture(autouse=True)
def _levels_as_before() -> Iterator[None]:
    names = [None, "bridge.sse", "urllib3", "uvicorn", "asyncio"]
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_a_level_falls_back_by_itself() -> None:
    """That of all loggers to the settings' level, that of one logger to the level of all."""
    now = Now()
    logging.getLogger().setLevel(logging.INFO)
    levels = LogLevels("info", now)
    levels.change(LevelChange("error", None, 60.0))
    levels.change(LevelChange("debug", "bridge.sse", 120.0))
    assert not logging.getLogger("bridge.kafka").isEnabledFor(logging.INFO)
    assert logging.getLogger("bridge.sse").isEnabledFor(logging.DEBUG)
    now.at += 61
    levels.expire()
    assert logging.getLogger("bridge.kafka").isEnabledFor(logging.INFO)
    assert logging.getLogger("bridge.sse").isEnabledFor(logging.DEBUG)
    now.at += 60
    levels.expire()
    assert not logging.getLogger("bridge.sse").isEnabledFor(logging.DEBUG)


def test_a_reload_during_a_limited_time_counts_after_it() -> None:
    """The person who set the level knows of no reload."""
    now = Now()
    levels = LogLevels("info", now)
    levels.change(LevelChange("debug", None, 60.0))
    levels.follow_settings("error")
    assert logging.getLogger().level == logging.DEBUG
    now.at += 60
    levels.expire()
    assert logging.getLogger().level == logging.ERROR


def test_libraries_stay_quiet_at_debug() -> None:
    """They log every request, and nothing masks the headers of a future version."""
    LogLevels("info").change(LevelChange("debug"))
    assert not logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.INFO)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'"debug"',
        b"{}",
        b'{"level": "loud"}',
        b'{"level": ["debug"]}',
        b'{"level": "debug", "logger": "urllib3"}',
        b'{"level": "debug", "logger": "bridge..sse"}',
        b'{"level": "debug", "logger": 7}',
        b'{"level": "debug", "for": "soon"}',
        b'{"level": "debug", "for": "0s"}',
        b'{"level": "debug", "for": "25h"}',
        b'{"level": "debug", "for": true}',
        b'{"level": "debug", "for": []}',
        b'{"level": "debug", "more": 1}',
        b"[" * 100_000,
    ],
)
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadChange):
        parse_change(body)


def test_a_body_is_read() -> None:
    """The logger and the time are optional."""
    assert parse_change(b'{"level": "debug"}') == LevelChange("debug", None, 600.0)
    change = parse_change(b'{"level": "error", "logger": "bridge.sse", "for": "2m"}')
    assert change == LevelChange("error", "bridge.sse", 120.0)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"], True),
        (["10.0.0.1", "::ffff:10.0.0.1", "", "localhost"], False),
    ],
)
def test_which_clients_are_on_this_machine(hosts: list[str], *, expected: bool) -> None:
    """Without a token, only they may change the level."""
    assert {is_loopback(host) for host in hosts} == {expected}


@pytest.mark.parametrize(("token", "sent", "code"), [(None, None, 200), ("t", None, 401), ("t", "t", 200)])
def test_the_level_is_changed_over_http(token: str | None, sent: str | None, code: int) -> None:
    """With the token if there is one; without any, from this machine."""
    levels = LogLevels("info")
    with listening(HttpEndpoint("127.0.0.1", 0, token, lambda: WELL, levels)) as port:
        url = f"http://127.0.0.1:{port}/api/log-level"
        headers = {} if sent is None else {"Authorization": f"Bearer {sent}"}
        logging.getLogger("bridge.sse").setLevel(logging.NOTSET)
        body = json.dumps({"level": "debug", "logger": "bridge.sse", "for": "1m"})
        answer = requests.put(url, body, headers=headers, timeout=TIMEOUT)
        assert answer.status_code == code
        assert (logging.getLogger("bridge.sse").level == logging.DEBUG) == (code == 200)
        assert requests.put(url, "{", headers=headers, timeout=TIMEOUT).status_code == (400 if code == 200 else 401)
        large = "x" * 100_000
        assert requests.put(url, large, headers=headers, timeout=TIMEOUT).status_code == (400 if code == 200 else 401)
        assert requests.get(url, headers=headers, timeout=TIMEOUT).status_code == (405 if code == 200 else 401)


def test_the_former_token_stays_valid_for_a_minute() -> None:
    """Scrapers get the new one at another moment than the bridge."""
    now = Now()
    tokens = Tokens("one", now)
    tokens.replace("two")
    assert tokens.valid() == ("two", "one")
    tokens.replace("two")
    now.at += OVERLAP - 1
    assert tokens.valid() == ("two", "one")
    now.at += 1
    assert tokens.valid() == ("two",)
    tokens.replace(None)
    assert not tokens.is_needed
