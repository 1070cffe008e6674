"""The events of load tests are the same bytes for every reader and for reads of every size."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mix.events import VALIDATORS
from bridge.simulator.encoding import event_block
from bridge.simulator.server.load_session import LoadScript


def blocks_of(chunks: list[bytes]) -> bytes:
    """Return the payload of HTTP chunks, after a check of each size line."""
    payload = b""
    for chunk in chunks:
        size, _, rest = chunk.partition(b"\r\n")
        assert rest[-2:] == b"\r\n"
        assert len(rest) - 2 == int(size, 16)
        payload += rest[:-2]
    return payload


@given(st.integers(1, 2000), st.integers(1, 700), st.integers(0, 2100), st.integers(0, 2100))
def test_a_reader_gets_all_available_events_after_its_position(events, per_write, start, available):
    script = LoadScript(1, 150, events, per_write)
    at, chunks = start, []
    while (step := script.chunks_after(at, available))[0]:
        assert step[1] > at
        chunks += step[0]
        at = step[1]
    numbers = range(start + 1, min(events, available) + 1)
    assert blocks_of(chunks) == b"".join(event_block("content", script.data(n), str(n)) for n in numbers)


@pytest.mark.parametrize("per_write", [1, 7, 100, 600])
def test_full_chunks_have_per_write_events(per_write):
    chunks, _ = LoadScript(1, 150, 10_000, per_write).chunks_after(0, 10_000)
    assert {len(re.findall(rb"^id: ", chunk, re.MULTILINE)) for chunk in chunks} == {per_write}


@given(st.integers(0, 99), st.integers(100, 1000), st.integers(1, 10**9))
def test_data_has_the_requested_size_and_is_valid(seed, size, number):
    data = LoadScript(seed, size, 1, 1).data(number)
    assert len(data) == size
    assert VALIDATORS["content"](data.decode()) is None
    assert b"%012d" % number in data


def test_the_error_for_a_too_small_event_names_the_smallest_size():
    with pytest.raises(ValueError, match=r"at least \d+"):
        LoadScript(1, 20, 1, 1)
