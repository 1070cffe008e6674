"""Log lines to a reader that is slow, stopped or gone: no caller waits, and what is lost is counted."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from bridge.observe.log_writer import QUEUE_BYTES, LogWriter
from tests.support.waiting import TIMEOUT, wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    reader, writer = os.pipe()
    with os.fdopen(reader) as lines, os.fdopen(writer, "w") as stream:
        yield lines, stream


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("bridge.test", logging.INFO, "", 0, {"event": text}, None, None)


def test_a_full_pipe_stops_nobody_and_what_is_dropped_is_counted(pipe: tuple[TextIO, TextIO]) -> None:
    """The lines that fit into the queue come later, and then one line gives the number of the others."""
    reader, stream = pipe
    handler = LogWriter(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    total, text = QUEUE_BYTES // 1000 + 500, "x" * 980
    caller = threading.Thread(target=lambda: [handler.handle(record(f"{at:09} {text}")) for at in range(total)])
    caller.start()
    caller.join(TIMEOUT)
    assert not caller.is_alive()
    dropped = handler.dropped
    assert 0 < dropped < total
    handler.flush()  # ends, although nothing is read
    lines: list[str] = []
    consumer = threading.Thread(target=lambda: lines.extend(reader))
    consumer.start()
    wait_until(lambda: any("were dropped" in line for line in lines), what="the line about dropped lines")
    handler.flush()
    wait_until(lambda: len(lines) == total - dropped + 1, what="the other lines")
    assert [line for line in lines if "were dropped" in line] == [
        f"{dropped} log lines were dropped: the reader of stderr was too slow\n"
    ]
    handler.close()
    stream.close()
    consumer.join(TIMEOUT)
