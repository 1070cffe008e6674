"""Asks one server for its sessions, again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.daemon.source import Source
from bridge.errors import Stopped
from bridge.mix.session_filter import DiscoveryRules, discovered
from bridge.mix.sessions import ServerUnavailable

log = get_logger("bridge.discovery")

_BETWEEN_HINTS = 1.0
"""Seconds between two questions because of a hint: a replay may hold hundreds, all about sessions already listed."""


class Discovery:
    """One server's discovery thread.

    Thread rule: ``listed`` and the ages are written by its thread and read by any; ``ask_now`` and ``stop`` by any.
    """

    def __init__(self, source: Source, changed: Callable[[], None]) -> None:
        """``changed`` is called, on this thread, after each answer."""
        self.listed: tuple[str, ...] = ()
        """The sessions of the last answer that pass the filters."""
        self.all_listed: frozenset[str] = frozenset()
        """All sessions of the last answer: the filters say what is begun, not what is gone on with."""
        self.answered_at: float | None = None
        self._source = source
        self._changed = changed
        self._api = source.api(self._skipped)
        settings = source.settings
        self._rules = DiscoveryRules(settings.include_subagents, settings.created_within)
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._failing: str | None = None
        self._flaws: str | None = None
        self._said_flaws: str | None = None
        self._log = log.bind(server=source.name)
        self._thread = threading.Thread(target=self._run, name=f"discovery {source.name}", daemon=True)

    @property
    def fails(self) -> bool:
        """Whether the last question for the list was answered with something else, or not at all (any thread)."""
        return self._failing is not None

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def ask_now(self) -> None:
        """Ask at once: an event said that there is a new session."""
        self._wake.set()

    def has_dropped(self, session_id: str, since: float) -> bool:
        """Whether a list later than ``since`` is without this session."""
        answered_at, listed = self.answered_at, self.all_listed
        return answered_at is not None and answered_at > since and session_id not in listed

    def stop(self) -> None:
        """Ask for the end; wakes a request under way."""
        self._stopped.set()
        self._wake.set()
        self._api.stop()

    def join(self, deadline: float) -> bool:
        """Wait for the thread until ``deadline``; True when it has ended."""
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        hinted_at = -inf
        while not self._stopped.is_set():
            asked_at = monotonic()
            self._wake.clear()  # before asking: what is announced while the answer is under way asks once more
            try:
                self._ask()
            except Stopped:
                return
            except ServerUnavailable as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - a bug met in one list must not end all discovery
                self._stumbled(error)
            interval = self._source.settings.discover_interval
            if self._wake.wait(interval):
                self._stopped.wait(max(0.0, min(hinted_at + _BETWEEN_HINTS, asked_at + interval) - monotonic()))
                hinted_at = monotonic()

    def _ask(self) -> None:
        self._flaws = None
        listing = self._api.list(include_subagents=self._rules.include_subagents)
        self._source.noted(answered=True)
        self._say_flaws()
        self.all_listed = frozenset(session.id for session in listing)
        self.listed = discovered(listing, self._rules, unix_ms())
        self.answered_at = monotonic()
        if self._failing is not None:
            self._log.info("discovery works again")
        self._failing = None
        self._changed()

    def _failed(self, error: ServerUnavailable) -> None:
        self._source.noted(answered=error.answered)
        if self._failing != error.detail:  # said once, not every ten seconds
            self._log.warning("discovery failed: running sessions go on, new ones wait", detail=error.detail)
        self._failing = error.detail

    def _stumbled(self, error: Exception) -> None:
        name = f"bug: {type(error).__name__}"
        if self._failing != name:
            self._log.exception("a bug met while asking for sessions: running sessions go on, new ones wait")
        self._failing = name

    def _skipped(self, flaws: str) -> None:
        self._flaws = flaws

    def _say_flaws(self) -> None:
        if self._flaws is not None and self._flaws != self._said_flaws:  # said once, not every ten seconds
            self._log.warning("entries of the list of sessions are not bridged", detail=self._flaws)
        self._said_flaws = self._flaws
