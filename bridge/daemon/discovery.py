"""Polls one server for its sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import clock_difference, monotonic, unix_ms
from bridge.daemon.source import Source
from bridge.errors import Stopped
from bridge.mix.listing import DiscoveryRules, discovered
from bridge.mix.sessions import NoList, ServerUnavailable
from bridge.settings.server import name_the_sessions

log = get_logger("bridge.discovery")

_BETWEEN_REQUESTED_POLLS = 1.0
"""Seconds between two polls that events asked for: a replay may hold hundreds of events about sessions that are
already listed."""


class Discovery:
    """The discovery thread of one server. If discovery is off, it never starts, and nothing is ever listed.

    Thread rule: ``listed``, ``all_listed``, ``titles`` and ``answered_at`` are written by its thread and read by any;
    ``stop`` is for any thread.
    """

    def __init__(self, source: Source, changed: Callable[[], None]) -> None:
        """``changed`` is called on the discovery thread after each list."""
        self.listed: tuple[str, ...] = ()
        """The sessions of the last list that pass the filters."""
        self.all_listed: frozenset[str] = frozenset()
        """All sessions of the last list: the filters decide which sessions start, not which ones continue."""
        self.marks: Mapping[str, int] = {}
        """What tells one version of an entry from another, by session; only with ``idle_after``."""
        self.titles: Mapping[str, str] = {}
        """The titles of the last list by session. Replaced, never changed."""
        self.answered_at: float | None = None
        self.skipped = 0
        self.lists_none = False
        """Whether the last poll was answered with something else than a list."""
        self._source = source
        self._changed = changed
        self._api = source.api(self._note_skipped)
        settings = source.settings
        self._rules = DiscoveryRules(settings.include_subagents, settings.created_within)
        self._stopped = threading.Event()
        self._has_other_clock = False
        self._failure: str | None = None
        self._skipped: str | None = None
        self._logged_skipped: str | None = None
        self._log = log.bind(server=source.name, limited=True)  # an outage has another detail at each poll
        self._thread = threading.Thread(target=self._run, name=f"discovery {source.name}", daemon=True)

    @property
    def is_failing(self) -> bool:
        """Whether the last poll returned no list (any thread)."""
        return self._failure is not None

    def start(self) -> None:
        if self._source.settings.discover:
            self._thread.start()

    def is_unlisted_since(self, session_id: str, moment: float) -> bool:
        """Whether a list later than ``moment`` does not contain this session."""
        answered_at, listed = self.answered_at, self.all_listed
        return answered_at is not None and answered_at > moment and session_id not in listed

    def stop(self) -> None:
        """Ask the thread to end; cuts a request that is under way."""
        self._stopped.set()
        self._source.list_wanted.set()
        self._api.stop()

    def _run(self) -> None:
        requested_at = -inf
        interval = self._source.settings.discover_interval
        while not self._stopped.is_set():
            polled_at = monotonic()
            self._source.list_wanted.clear()  # before the poll: an event during the request causes one more poll
            try:
                self._poll()
            except Stopped:
                return
            except ServerUnavailable as error:
                self._report_failure(error)
            except Exception as error:  # noqa: BLE001 - a bug in the handling of one list must not end discovery
                self._report_bug(error)
            if self._source.list_wanted.wait(interval):
                earliest = min(requested_at + _BETWEEN_REQUESTED_POLLS, polled_at + interval)
                self._stopped.wait(max(0.0, earliest - monotonic()))
                requested_at = monotonic()

    def _poll(self) -> None:
        self._skipped = None
        self._api.transport = self._source.api_transport
        polled_at = monotonic()  # a session that is gone since then may be in this list nevertheless
        listing = self._api.list(include_subagents=self._rules.include_subagents)
        self._source.record_request(answered=True)
        self._compare_clocks()
        if self._skipped is not None and self._skipped != self._logged_skipped:  # logged once, not at every poll
            self._log.warning(
                "some entries of the list of sessions are not used: they are invalid or repeated", detail=self._skipped
            )
        self._logged_skipped = self._skipped
        self.all_listed = frozenset(session.id for session in listing)
        self.titles = {session.id: session.title for session in listing if session.title}
        if self._source.settings.idle_after is not None:
            self.marks = {session.id: session.mark for session in listing}
            listing = sorted(listing, key=lambda session: -(session.created_at_ms or 0))  # new ones get a place first
        self.listed = discovered(listing, self._rules, unix_ms())
        self.skipped, self.lists_none = self._api.skipped, False
        self.answered_at = monotonic()
        self._source.gone_sessions.list_came(self.all_listed, polled_at)
        if self._failure is not None:
            self._log.info("discovery works again")
        self._failure = None
        self._changed()

    def _report_failure(self, error: ServerUnavailable) -> None:
        """Log it once, not at every poll."""
        source = self._source
        detail = f"{name_the_sessions(source.name)} ({error.detail})" if isinstance(error, NoList) else error.detail
        source.record_request(answered=error.answered, failure=detail)
        if isinstance(error, NoList):
            source.gone_sessions.has_no_list()
        if self._failure != detail:
            self._log.warning("discovery failed: running sessions continue, new ones wait", detail=detail)
        self._failure = detail
        self.lists_none = isinstance(error, NoList)

    def _compare_clocks(self) -> None:
        problem = clock_difference(self._api.clock_ahead or 0.0, "the server")
        if problem is not None and not self._has_other_clock:  # logged once, not at every poll
            self._log.warning("the clocks of this machine and of the server differ", problem=problem)
        self._has_other_clock = problem is not None

    def _report_bug(self, error: Exception) -> None:
        name = f"bug: {type(error).__name__}"
        if self._failure != name:
            self._log.exception("a bug in discovery: running sessions continue, new ones wait; please report it")
        self._failure = name

    def _note_skipped(self, detail: str) -> None:
        self._skipped = detail
