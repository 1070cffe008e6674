"""A load test: each event follows from its number and is rendered once for all sessions, so nothing is kept.

The script is pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from math import inf
from random import Random

from bridge.simulator.encoding import http_chunk
from bridge.simulator.server.agent_session import number_of
from bridge.simulator.server.sessions import Session, SessionInfo

LOAD_EVENT = "content"
_NUMBER_DIGITS = 12
_BLOCKS_PER_PAGE = 512
# Readers of one test are at about the same position; 64 pages of 512 events of 200 bytes are 6.5 MB.
_PAGES_KEPT = 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,:-"


class LoadScript:
    """The events 1..``events`` of every session: a ``content`` event whose data has exactly ``event_bytes`` bytes.

    All sessions have the same events, so each chunk is rendered once and not once per session. The text contains the
    event's number, so no two events of a session are equal. One thread only.
    """

    def __init__(self, seed: int, event_bytes: int, events: int, per_write: int) -> None:
        self.events = events
        self._per_write = per_write
        self._chunks_per_page = max(1, _BLOCKS_PER_PAGE // per_write)
        self._prefix, self._suffix = _frame_of(seed, event_bytes)
        data = b"%b%%0%dd%b" % (self._prefix, _NUMBER_DIGITS, self._suffix)
        self._block = (b"id: %%d\nevent: %b\ndata: " % LOAD_EVENT.encode()) + data + b"\n\n"
        self._page = lru_cache(maxsize=_PAGES_KEPT)(self._render_page)

    def data(self, number: int) -> bytes:
        return b"%b%0*d%b" % (self._prefix, _NUMBER_DIGITS, number, self._suffix)

    def chunks_after(self, number: int, available: int) -> tuple[list[bytes], int]:
        """Return HTTP chunks of ``per_write`` events after ``number``, up to ``available``, and the last number."""
        last = min(self.events, available)
        if number >= last:
            return [], number
        page, offset = divmod(number, self._chunks_per_page * self._per_write)
        page_end = (page + 1) * self._chunks_per_page * self._per_write
        if page_end > last or offset % self._per_write:
            return self._render(number + 1, min(last, page_end)), min(last, page_end)
        return self._page(page)[offset // self._per_write :], page_end

    def _render_page(self, page: int) -> list[bytes]:
        size = self._chunks_per_page * self._per_write
        return self._render(page * size + 1, (page + 1) * size)

    def _render(self, first: int, last: int) -> list[bytes]:
        block, step = self._block, self._per_write
        return [
            http_chunk(b"".join([block % (n, n) for n in range(at, min(at + step, last + 1))]))
            for at in range(first, last + 1, step)
        ]


def _frame_of(seed: int, event_bytes: int) -> tuple[bytes, bytes]:
    """Return the data of each event before and after its number."""
    rng = Random(seed)  # noqa: S311 - test content, not a secret
    fields = {"type": LOAD_EVENT, "content": "", "assistantMessageId": f"msg_{rng.getrandbits(32):08x}"}
    before, after = json.dumps(fields, separators=(",", ":")).split('"content":""')
    prefix, tail = f'{before}"content":"', f'"{after}'
    filler = event_bytes - len(prefix) - len(tail) - _NUMBER_DIGITS
    if filler < 0:
        raise ValueError(f"event_bytes must be at least {event_bytes - filler}")
    return prefix.encode(), ("".join(rng.choices(_LETTERS, k=filler)) + tail).encode()


class LoadSession(Session):
    """Events become available at ``rate`` a second from ``begin`` on."""

    floor = 0

    def __init__(self, info: SessionInfo, script: LoadScript, clock: Callable[[], float], rate: float) -> None:
        super().__init__(info)
        self._script = script
        self._clock = clock
        self._rate = rate
        self._began: float | None = None

    def begin(self) -> None:
        if self._began is None:
            self._began = self._clock()
        self.wake_readers()

    def close(self) -> None:
        """End all streams now: a load test without a rate never ends."""
        for reader in self.readers:
            reader.end()

    @property
    def head(self) -> int:  # type: ignore[override] # grows by the clock
        """How many events are available."""
        if self._began is None:
            return 0
        if self._rate == inf:
            return self._script.events
        return min(self._script.events, int((self._clock() - self._began) * self._rate))

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        return self._script.chunks_after(sequence, self.head)

    def id_at(self, sequence: int) -> str:
        return str(sequence)

    def resume_position(self, last_event_id: str) -> int | None:
        number = number_of(last_event_id)
        return None if number is None else min(number, self.head)
