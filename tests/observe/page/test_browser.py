"""The live page in a real Chromium, over a real endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from bridge import clock
from bridge.core.snapshot import BridgeSnapshot
from bridge.observe.api import HttpEndpoint
from bridge.observe.page import feed
from bridge.workers.queries import Place
from tests.fakes import page_snapshots
from tests.fakes.http_endpoint import serving
from tests.fakes.page_snapshots import SHOWN_HOSTILE
from tests.fakes.parent_endpoint import parent_of
from tests.support.browser import Browser
from tests.support.network_proxy import BLACK_HOLE, CLEAR, Proxy
from tests.support.waiting import TIMEOUT, wait_until

pytestmark = pytest.mark.timeout(240)  # a browser starts in the first test
NAMES = "#sessions .name"
TOKEN = "s3cret"


class Page:
    """A browser, and an endpoint over a snapshot that the test sets."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.snapshot = page_snapshots.EMPTY
        self.port = 0
        self._opened = 0
        self.views = 0
        self._start = clock.monotonic()

    def now(self) -> BridgeSnapshot:
        """The snapshot, with the events that came since the start."""
        self.views += 1
        return page_snapshots.after(self.snapshot, clock.monotonic() - self._start)

    def open(self, snapshot: BridgeSnapshot) -> Browser:
        """Load the page, in light colours on a wide screen, and wait for the view of this snapshot."""
        self._opened += 1
        self.snapshot = replace(snapshot, version=f"version-{self._opened}")
        browser = self.browser
        browser.resize(1280)
        browser.driver.get(f"http://127.0.0.1:{self.port}/")
        browser.wait_text("#about", self.snapshot.version, TIMEOUT)
        browser.problems()
        return browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    made = Page(browser)
    with serving(made.now) as made.port:
        yield made
        made.browser.driver.get("about:blank")


def order_of(browser: Browser) -> list[str]:
    keys: list[str] = browser.run("return [...document.querySelectorAll('#sessions tr')].map(e => e.dataset.key)")
    return keys


def test_a_healthy_bridge_is_shown_with_moving_rates(page: Page) -> None:
    """One line says that all is well; rates come from the changes."""
    browser = page.open(page_snapshots.healthy())
    assert browser.texts("#verdict") == ["Ready: 14 sessions, all checks passed"]
    assert browser.find("#lost").text == ""
    assert browser.driver.title == "Ready · mix · mix-bridge"
    assert browser.texts(NAMES)[:2] == ["Refactor module 0", "session-0001"]
    assert browser.texts("#shards li")[0] == "shard 0: owned, 3 sessions"
    rate = "#sessions tr[data-key='local/session-0006'] .rate span"
    wait_until(lambda: 5.0 <= float(browser.texts(rate)[0]) <= 7.0, what="about 6 events a second")
    line = "return document.querySelectorAll('#sessions polyline')[6].getAttribute('points').split(' ').length"
    wait_until(lambda: browser.run(line) >= 3, what="a line of rates")
    assert browser.problems() == []


def test_changes_arrive_within_seconds(page: Page) -> None:
    """A session that comes, one that goes, one that changes, and the verdict."""
    browser = page.open(page_snapshots.healthy(3))
    first, second, _ = page.snapshot.sessions
    troubled = replace(second, state="waiting", last_error="HTTP status 502")
    page.snapshot = replace(page.snapshot, sessions=(first, troubled, page_snapshots.session(77)))
    browser.wait_text("#verdict", "Ready, but 1 of 3 sessions with a problem")
    assert order_of(browser) == ["local/session-0001", "local/session-0000", "local/session-0077"]
    assert "HTTP status 502" in browser.texts("#sessions tr")[0]


def test_trouble_comes_first_with_advice(page: Page) -> None:
    """Failed checks say what to do; sessions are sorted by trouble; dead letters and losses are counted."""
    browser = page.open(page_snapshots.troubled())
    assert browser.texts("#verdict") == ["Not ready: 4 checks failed (shards, replicas, kafka, topics)"]
    assert any("check that the brokers of kafka.bootstrap_servers" in text for text in browser.texts("#failing li"))
    assert [key.rpartition("-")[2] for key in order_of(browser)][:5] == ["0022", "0023", "0020", "0021", "0030"]
    assert "1 gap, 2 events lost" in browser.texts("#sessions tr")[4]
    assert browser.texts("#dead tr") == ["oversize11", "schema33"]
    assert "blocked, 0 sessions: checkpoint of far/1 is of a newer version" in browser.texts("#shards .trouble")[0]
    browser.find("#all-checks summary").click()
    browser.wait_text("#checks tr", "restorepassed")


def test_the_page_of_a_parent_shows_which_worker_has_a_session(page: Page) -> None:
    """And a worker that ended."""
    browser, workers = page.browser, [page_snapshots.of_worker(number) for number in (1, 2)]
    with serving(lambda: workers[0]) as first, serving(lambda: workers[1]) as second:
        places = [Place(1, first), Place(2, second)]
        with parent_of(lambda: places) as port:
            browser.driver.get(f"http://127.0.0.1:{port}/")
            browser.wait_text("#verdict", "Ready: 6 sessions, all checks passed")
            assert "worker-2" in browser.texts("#sessions tr[data-key='local/session-0001'] td")[0]
            assert browser.texts("#shards li")[3] == "shard 3: owned, 1 session, worker-2"
            browser.run(
                "const e = document.getElementById('search'); e.value = 'worker-2'; e.dispatchEvent(new Event('input'))"
            )
            assert browser.texts("#count") == ["3 of 6 sessions"]
            browser.find(NAMES).click()
            browser.wait_text("#detail-state", "streaming: worker-2")
            browser.find("#close").click()
            assert browser.axe() == []
            places[1] = Place(2, None)
            browser.wait_text("#verdict", "Not ready: 1 check failed (worker-2)")
            assert "worker-2 (restarts: 2): does not answer" in browser.texts("#replicas .bad")[0]
            assert browser.texts("#lost") == [""]
            browser.driver.get("about:blank")


def test_hostile_text_is_shown_and_does_nothing(page: Page) -> None:
    """Markup stays text, what cannot be seen becomes an escape, and names like __proto__ are names."""
    browser = page.open(page_snapshots.hostile())
    assert browser.texts(NAMES) == [SHOWN_HOSTILE, "lone \\ud800 surrogate"]
    browser.find(NAMES).click()
    browser.wait_text("#lifecycle td", SHOWN_HOSTILE)
    shown = browser.run("return document.body.innerText")
    assert not set(shown) & set("\u202e\u0007\ud800")
    assert [browser.texts(f"#{part} th bdi")[-1] for part in ("servers", "topics")] == ["__proto__", "__proto__"]
    browser.find("#close").click()
    browser.find("#sessions tr:last-child .name").click()
    browser.wait_text("#no-lifecycle", "not known")  # no URL can hold a lone surrogate
    assert browser.run("return [window.wasHacked, document.querySelectorAll('img').length]") == [None, 0]
    assert browser.problems() == [] or all("404" in each for each in browser.problems())


def test_markup_that_got_into_the_page_would_do_nothing(page: Page) -> None:
    """The policy forbids scripts without its hash, handlers, and requests to anywhere else."""
    browser = page.open(page_snapshots.EMPTY)
    browser.run(
        "const e = document.createElement('script'); e.append('window.wasHacked = 1'); document.body.append(e);"
        "fetch('http://127.0.0.1:1/').catch(() => {});"
    )
    refused = wait_until(browser.problems, what="the refusals")
    assert browser.run("return window.wasHacked") is None
    assert any("Content Security Policy" in each for each in refused)
    with pytest.raises(Exception, match="TrustedHTML"):
        browser.run("document.body.innerHTML = '<img onerror=1>'")


def test_5000_sessions_are_searched_and_filtered_within_100_ms(page: Page) -> None:
    """From the key to the changed page, layout included. All sessions are searched, the first are shown."""
    browser = page.open(page_snapshots.full())
    assert browser.texts("#count") == ["5,000 sessions; the first 100 are shown"]
    timed = """
      const element = document.getElementById(arguments[0]);
      const started = performance.now();
      element.value = arguments[1];
      element.dispatchEvent(new Event(arguments[0] === "search" ? "input" : "change"));
      document.body.getBoundingClientRect();
      return performance.now() - started;
    """

    def is_fast(element: str, value: str) -> bool:
        return bool(browser.run(timed, element, value) < 100)

    for element, value, count in (
        ("search", "LOCAL session-4999", "1 of 5,000 sessions"),
        ("search", "refactor", "2,500 of 5,000 sessions; the first 100 are shown"),
        ("search", "", "5,000 sessions; the first 100 are shown"),
        ("filter", "trouble", "100 of 5,000 sessions"),
        ("filter", "all", "5,000 sessions; the first 100 are shown"),
        ("sort", "rate", "5,000 sessions; the first 100 are shown"),
    ):
        assert browser.run(timed, element, value) > 0
        assert browser.texts("#count") == [count]
        # Once is enough: other processes use the cores too.
        wait_until(partial(is_fast, element, value), what=f"{element} {value!r} within 100 ms")


def test_the_keyboard_is_enough(page: Page) -> None:
    """``/`` searches, arrows choose, Enter opens, Escape closes and leads back."""
    browser = page.open(page_snapshots.healthy())

    def press(*keys: str) -> Any:
        browser.driver.switch_to.active_element.send_keys(*keys)
        return browser.run("return document.activeElement.textContent || document.activeElement.id")

    browser.find("body").send_keys("/")
    assert press(*"module") == "search"
    assert browser.texts("#count") == ["7 of 14 sessions"]
    assert press(Keys.ARROW_DOWN) == "Refactor module 0"
    assert press(Keys.ARROW_DOWN) == "Refactor module 2"
    assert press(Keys.ARROW_DOWN, Keys.ARROW_UP) == "Refactor module 2"
    press(Keys.ENTER)
    browser.wait_text("#detail-title", "Refactor module 2 (local/session-0002)")
    browser.wait_text("#lifecycle tr", "attached")
    assert press(Keys.ESCAPE) == "Refactor module 2"
    assert press(Keys.ARROW_UP, Keys.ARROW_UP) == "search"
    press(Keys.ESCAPE)
    assert browser.texts("#count") == ["14 sessions"]


def test_the_focus_stays_while_rows_move(page: Page) -> None:
    """A session in trouble moves up: a person who is at it stays at it."""
    browser = page.open(page_snapshots.healthy(5))
    browser.run("document.querySelector('#sessions tr:last-child .name').focus()")
    *before, last = page.snapshot.sessions
    page.snapshot = replace(page.snapshot, sessions=(*before, replace(last, state="crashed")))
    wait_until(lambda: order_of(browser)[0] == "local/session-0004", what="the session at the top")
    assert browser.run("return document.activeElement.closest('tr').dataset.key") == "local/session-0004"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (320, False)])
def test_axe_finds_nothing_and_nothing_is_cut_off(page: Page, width: int, *, dark: bool) -> None:
    """Names, roles, contrast and structure, with and without the detail; no sideways scrolling."""
    browser = page.open(page_snapshots.troubled())
    browser.resize(width, dark=dark)
    assert browser.axe() == []
    browser.run("[...document.querySelectorAll('#sessions tr')].find(e => e.dataset.key.includes('0030')).click()")
    browser.wait_text("#lifecycle tr", "gap")
    assert browser.axe() == []
    assert browser.run(
        "return [document, document.getElementById('detail')].every("
        "e => (e.scrollingElement || e).scrollWidth <= (e.scrollingElement || e).clientWidth)"
    )


def test_a_bridge_that_dies_is_reported_within_5_seconds_and_found_again(page: Page, browser: Browser) -> None:
    """Both by a closed connection and by silence."""
    with Proxy(page.port) as proxy:
        browser.driver.get(f"http://127.0.0.1:{proxy.port}/")
        browser.wait_text("#count", "session")
        proxy.set(BLACK_HOLE)
        silent_at = clock.monotonic()
        browser.wait_text("#lost", "No connection to the bridge")
        assert clock.monotonic() - silent_at < 6.0  # 1 s until the next message, 4 s until its absence counts
        proxy.set(CLEAR)
        wait_until(lambda: browser.texts("#lost") == [""], what="the connection")
    first = HttpEndpoint("127.0.0.1", 0, None, page.now)
    port = first.start()
    browser.driver.get(f"http://127.0.0.1:{port}/")
    browser.wait_text("#count", "session")
    first.stop()
    assert first.join(clock.monotonic() + TIMEOUT)
    browser.wait_text("#lost", "No connection to the bridge", 5.0)
    page.snapshot = page_snapshots.healthy(2)
    with serving(page.now, asked=port):
        wait_until(lambda: browser.texts("#lost") == [""], what="the connection")
        browser.wait_text("#count", "2 sessions")


def test_it_works_with_a_token_by_basic(page: Page, browser: Browser) -> None:
    """The browser asks once and sends the password with every request."""
    with serving(page.now, token=TOKEN) as page_port:
        page.snapshot = page_snapshots.healthy(2)
        browser.driver.get(f"http://me:{TOKEN}@127.0.0.1:{page_port}/")
        browser.wait_text("#count", "2 sessions")
        browser.find(NAMES).click()
        browser.wait_text("#lifecycle tr", "attached")
        browser.driver.get("about:blank")


def test_a_page_too_many_says_so(page: Page, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """And opens when another one is closed."""
    monkeypatch.setattr("bridge.observe.page.routes.MAX_STREAMS", 0)
    browser.driver.get(f"http://127.0.0.1:{page.port}/")
    browser.wait_text("#lost", "Too many pages are open")
    monkeypatch.undo()
    browser.wait_text("#count", "session")
    assert browser.texts("#lost") == [""]


def test_a_hidden_page_leaves_its_connection_to_others(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser opens six connections to a host: with more pages than that the newest ones could not even load."""
    monkeypatch.setattr(feed, "INTERVAL", 0.2)
    browser = page.open(page_snapshots.healthy(2))
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    wait_until(lambda: _no_views(page), what="the end of the stream", interval=0.6)
    browser.driver.close()
    browser.driver.switch_to.window(first)
    page.snapshot = page_snapshots.healthy(3)
    browser.wait_text("#count", "3 sessions")
    assert browser.texts("#lost") == [""]


def _no_views(page: Page) -> bool:
    before, page.views = page.views, 0
    return before == 0
