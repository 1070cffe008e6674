"""What commands that read Kafka share: the client's configuration, and on a terminal a bar or a line meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bridge.admin.waits import calling_after
from bridge.clock import monotonic
from bridge.errors import SettingsError
from bridge.kafka.config import client_config
from bridge.kafka.reader import StoredRecord
from bridge.kafka.topic_reader import OffsetRange, read
from bridge.settings import Settings


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """The settings and the client configuration."""

    settings: Settings
    config: dict[str, Any]

    @classmethod
    def of(cls, settings: Settings, client_id: str = "mix-bridge") -> KafkaAccess:
        """Raises `SettingsError` without ``kafka.bootstrap_servers``; servers are not needed."""
        if not settings.kafka.bootstrap_servers:
            raise SettingsError.of("kafka.bootstrap_servers", "is missing; allowed: a list of host:port")
        config = client_config(settings.kafka, client_id) | {"compression.type": settings.kafka.compression}
        return cls(settings, config)


Progress = Callable[[str, int, int], None]
"""(what is read, offsets read, all offsets)."""
_AFTER = 2.0
"""Seconds: what takes less needs no bar, and may print to the same terminal."""


@contextmanager
def bars(after: float = _AFTER, now: Callable[[], float] = monotonic) -> Iterator[Progress]:
    """Bars on stderr, if it is a terminal, after so many seconds. Nothing elsewhere; they disappear at the end."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and needed on terminals only
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (TextColumn("reading {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown, begun, tasks = Bars(*columns, console=Console(file=sys.stderr), transient=True), now(), {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = shown.add_task(what, total=total)
        shown.update(tasks[what], completed=done)
        if now() - begun >= after:
            shown.start()

    try:
        yield show
    finally:
        if shown.live.is_started:
            shown.stop()


@contextmanager
def waiting(what: str, after: float = _AFTER) -> Iterator[None]:
    """A moving line on stderr, if it is a terminal, after so many seconds, where progress cannot be measured."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.status import Status  # noqa: PLC0415

    status = Status(f"waiting for {what}", console=Console(file=sys.stderr), spinner="line")
    try:
        with calling_after(after, status.start):
            yield
    finally:
        status.stop()


def read_all(config: Mapping[str, Any], ranges: Sequence[OffsetRange], what: str) -> Iterator[list[StoredRecord]]:
    """As ``read``, with a bar; ``what``: what the records are."""
    total = sum(each.end - each.start for each in ranges)
    with bars() as show:
        show(what, 0, total)
        yield from read(config, ranges, progress=lambda _, passed: show(what, passed, total))
