"""Memory and work of the framing are bounded: long, many-line and oversize blocks."""

from __future__ import annotations

import hashlib
import time
import tracemalloc
from collections.abc import Callable, Iterable

import pytest
import sseclient

from bridge.core.stream.event import Oversize
from bridge.sse import event_stream
from bridge.sse.blocks import WHOLE, BlockReader
from bridge.sse.fields import KEPT_OF_OVERSIZE, Block, BlockScanner, scan
from bridge.sse.reconnection import Disconnected
from tests.fakes.pieces import cut, events_of, stream_of

PIECE = 65536
MIB = 1024 * 1024


def pieces_of(stream: bytes, size: int = PIECE) -> list[bytes]:
    return cut(stream, range(0, len(stream), size))


def oversize_of(data: bytes) -> Oversize:
    return Oversize(len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("size", [PIECE, 1000, 7])
def test_an_oversize_event_has_its_beginning_size_and_digest(size: int) -> None:
    """64 KiB of data, the full size and digest, and the id and name before and after the data."""
    data = b"\n".join(b"line %d" % number for number in range(30000))
    stream = b"id: 7\ndata: " + data.replace(b"\n", b"\ndata: ") + b"\nevent: big\n\ndata: next\n\n"
    reader = stream_of(pieces_of(stream, size), limit=100_000)
    big, following = events_of(reader)
    assert (big.name, big.id, big.last_event_id) == ("big", "7", "7")
    assert big.data == data[:KEPT_OF_OVERSIZE].decode()
    assert big.oversize == oversize_of(data)
    assert (following.data, following.oversize) == ("next", None)


@pytest.mark.parametrize("offset", range(4))
def test_the_beginning_of_oversize_data_is_cut_at_a_character_boundary(offset: int) -> None:
    """No half character is kept, wherever in a four-byte character the limit falls."""
    data = b"x" * offset + "😀".encode() * 20_000
    (event,) = events_of(stream_of(pieces_of(b"data: " + data + b"\n\n"), limit=70_000))
    assert event.data == data[: KEPT_OF_OVERSIZE - (KEPT_OF_OVERSIZE - offset) % 4].decode()
    assert event.oversize == oversize_of(data)


@pytest.mark.parametrize("size", [PIECE, 1])
def test_size_and_digest_are_those_of_the_replaced_bytes(size: int) -> None:
    """As a consumer would get them: U+FFFD for invalid UTF-8, even at the cut between two pieces."""
    raw = (b"\xe4\xb8" + "中".encode() + b"\xff") * 300
    reader = stream_of(pieces_of(b"data: " + raw + b"\xe4\n\n", size), limit=1000)
    (event,) = events_of(reader)
    assert event.oversize == oversize_of((raw + b"\xe4").decode("utf-8", "replace").encode())
    assert reader.replaced == 1


def test_valid_oversize_data_is_not_counted_as_replaced() -> None:
    """Not even if it holds a U+FFFD of its own."""
    reader = stream_of(pieces_of("data: {}\n\n".format("�é" * 1000).encode(), 7), limit=1000)
    (event,) = events_of(reader)
    assert event.oversize is not None
    assert reader.replaced == 0


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_exact_and_counts_stored_lines(over: int) -> None:
    """Data, id and name count with their line ends. Comments and unknown fields do not count."""
    kept = b"id: 1\nevent: e\ndata: xxxxx"
    stream = b": comment\nunknown: field\n" + kept + b"\n\n"
    size = len("1\n") + len("e\n") + len("xxxxx\n")
    (event,) = events_of(stream_of([stream], limit=size - over))
    assert (event.oversize is not None) == bool(over)


def test_an_oversize_block_without_data_only_moves_the_id() -> None:
    """It has no event. The last event ID moves as the standard requires."""
    stream = b"event: " + b"e" * 5000 + b"\nid: 7\n\n"
    (event,) = events_of(stream_of([stream], limit=1000))
    assert (event.name, event.id, event.oversize) == ("", "7", None)


def test_an_oversize_block_has_a_cut_name_and_no_long_id() -> None:
    """Part of a name is still readable. Part of an id would be another id."""
    stream = b"event: " + "é".encode() * 100_000 + b"\nid: " + b"7" * 100_000 + b"\ndata: x\n\n"
    (event,) = events_of(stream_of(pieces_of(stream), "6", limit=150_000))
    assert event.name == "é" * (KEPT_OF_OVERSIZE // 2)
    assert (event.id, event.last_event_id) == (None, "6")


def test_the_value_of_an_endless_id_is_not_stored() -> None:
    """Bytes that no event can use are dropped as they come."""
    assert peak_of(lambda: [b"id: ", *[b"7" * PIECE] * 200, b"\n\n"], limit=MIB) < 4 * MIB


def test_a_retry_of_thousands_of_digits_is_still_a_number() -> None:
    """Python would reject such a number."""
    assert (scan(b"retry: " + b"9" * 10_000, MIB).retry or 0) > 10**14
    assert scan(b"retry: " + b"0" * 10_000 + b"5", MIB).retry == 5


def test_a_block_passes_its_data_as_one_line() -> None:
    """With line feeds, so that sseclient-py joins nothing. Absent fields are absent."""
    assert Block(b"e", b"1", b"a\nb", None, None, replaced=False).splitlines() == [b"data: a\nb", b"event: e", b"id: 1"]
    assert Block(None, None, None, None, None, replaced=False).splitlines() == []


def test_comment_lines_of_an_open_block_are_counted_when_complete() -> None:
    """They show that a stream without closed blocks works. Each counts once, whether the block is scanned or not."""
    reader = BlockReader(MIB)
    counts = []
    for piece in [b"data: :\n", b":", b" a", b"\n", b":b\n:c\nx", b"x" * WHOLE, b"\n:", b"d\n:e", b"\n", b"\n"]:
        reader.feed(piece)
        counts.append(reader.comments)
    assert counts == [0, 0, 0, 1, 3, 3, 3, 4, 5, 5]


def test_open_bytes_are_those_of_the_incomplete_block() -> None:
    """Of a possible BOM, of an unparsed block, of a scanned one."""
    reader = BlockReader(MIB)
    sizes = []
    for piece in [b"\xef", b"\xbb\xbf", b"data: a\n", b"\ndata", b"x" * WHOLE, b"x\n", b"\n", b"\n", b"id"]:
        reader.feed(piece)
        sizes.append(reader.open_bytes)
    assert sizes == [1, 0, 8, 4, WHOLE + 4, WHOLE + 6, 0, 0, 2]


def test_retry_of_a_scanned_open_block_is_known() -> None:
    """It takes effect when its line is complete, as in a short block."""
    reader = BlockReader(MIB)
    reader.feed(b"data: " + b"x" * WHOLE + b"\nretry: 70\nretry: 8")
    assert reader.retry_of_open == 70


# Memory and work


def peak_of(pieces: Callable[[], Iterable[bytes]], limit: int = MIB) -> int:
    """The most memory at any time while a stream is read, beside its own pieces."""
    reader = stream_of(pieces(), limit=limit)
    tracemalloc.start()
    try:
        try:
            while True:
                reader.read()
        except Disconnected:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ENDLESS: dict[str, list[bytes]] = {
    "one line of data": [b"data: ", *[b"x" * PIECE] * 300, b"\n\n"],
    "many lines of data": [*[b"data: x\n" * (PIECE // 8)] * 30, b"\n"],
    "bare lines of data": [*[b"data\n" * (PIECE // 5)] * 20, b"\n"],
    "comments without empty lines": [*[b": heartbeat\n" * (PIECE // 12)] * 40],
    "one comment": [b":", *[b"x" * PIECE] * 300],
    "one unknown field": [b"unknown: ", *[b"x" * PIECE] * 300],
    "a line without a colon": [*[b"x" * PIECE] * 300],
    "data that never closes": [b"data: ", *[b"x" * PIECE] * 300],
    "the smallest events": [*[b"data\n\n" * (PIECE // 6)] * 2],
    "only empty lines": [*[b"\n" * PIECE] * 20],
}


@pytest.mark.parametrize("name", ENDLESS)
def test_memory_is_bounded_for_every_stream(name: str) -> None:
    """A few times the limit on a block, not the size of the stream (1 to 20 MiB here)."""
    limit = 256 * 1024
    assert peak_of(lambda: ENDLESS[name], limit) < 8 * limit


def test_sseclient_py_never_gets_many_lines_of_a_large_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """It copies the data once per line. Its work, bytes times lines, must stay linear for every block."""
    work = 0
    dispatch = event_stream._FieldReader.dispatch

    def counting(self: event_stream._FieldReader, blocks: Iterable[bytes | Block]) -> list[sseclient.Event]:
        nonlocal work
        blocks = list(blocks)
        work += sum(sum(map(len, block.splitlines())) * len(block.splitlines()) for block in blocks)
        return dispatch(self, blocks)

    monkeypatch.setattr(event_stream._FieldReader, "dispatch", counting)
    for line in (b"data\n", b"data: 0123456789\n", b"data: " + b"x" * 1000 + b"\n"):
        for size in (3000, 30_000, 300_000):
            work = 0
            stream = (line * (size // len(line)) + b"\n") * 2
            assert len(events_of(stream_of(pieces_of(stream), limit=4 * MIB))) == 2
            assert work <= max(16 * len(stream), 2 * 2 * 4096 * 4096 // len(line))


def cpu_of(stream: bytes, size: int, limit: int = 64 * MIB) -> float:
    pieces = pieces_of(stream, size)
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        events_of(stream_of(pieces, limit=limit))
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (lambda n: b"data: " + b"x" * (n * 1_000_000) + b"\n\n", PIECE),
        (lambda n: b"data: " + b"x" * (n * 40_000) + b"\n\n", 16),
        (lambda n: b"data: x\n" * (n * 10_000) + b"\n", PIECE),
        (lambda n: b": c\n" * (n * 10_000), 512),
        (lambda n: b"x" * min(n * 15_000, WHOLE - 1), 1),
        (lambda n: b"data: x\r\n\r\n" * (n * 5_000), 1000),
    ],
    ids=["one line", "one line in small pieces", "many lines", "comments", "an open line byte by byte", "small events"],
)
def test_work_is_linear(stream: Callable[[int], bytes], size: int) -> None:
    """Four times the bytes cost about four times the work: ten at most, where a square would cost sixteen.

    In one of five measurements: a busy machine slows one side sometimes, but a square shows in all of them.
    """
    measurements = ((cpu_of(stream(4), size), cpu_of(stream(1), size)) for _ in range(5))
    assert any(large < 10 * max(small, 0.002) for large, small in measurements)


def test_normal_blocks_are_split_without_scanning_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scanning would take longer than everything else."""

    def never(*_: object) -> None:
        raise AssertionError("an ordinary block was scanned")

    monkeypatch.setattr(BlockScanner, "feed", never)
    stream = b"".join(b"id: %d\nevent: content\ndata: {}\n\n" % number for number in range(5000))
    assert len(events_of(stream_of(pieces_of(stream, 5000)))) == 5000
