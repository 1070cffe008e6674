"""The chunked coding is decoded at every chunking, and an invalid chunk is distinguished from an incomplete one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.http.response import ChunkDecoder, Framing
from tests.fakes.pieces import cut


def decode(pieces: list[bytes]) -> tuple[bytes, Framing]:
    """The payload and the state of the coding."""
    decoder = ChunkDecoder()
    payload = b""
    for piece in pieces:
        if decoder.framing is Framing.OPEN:
            payload += decoder.feed(piece)
    return payload, decoder.framing


def coded(payloads: list[bytes], extension: bytes = b"") -> bytes:
    return b"".join(b"%x%s\r\n%s\r\n" % (len(payload), extension, payload) for payload in payloads)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.binary(min_size=1, max_size=40) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"\n", b"5\r\n"]), max_size=8
    ),
    st.lists(st.integers(min_value=1, max_value=300), max_size=20),
    st.sampled_from([b"", b";a=b", b" ;x"]),
    st.sampled_from([b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"000\r\n", b""]),
)
def test_the_payload_is_decoded_at_every_chunking(
    payloads: list[bytes], positions: list[int], extension: bytes, last: bytes
) -> None:
    """Payload that looks like coding, extensions, trailers: whole and split anywhere."""
    expected = b"".join(payloads), Framing.ENDED if last else Framing.OPEN
    stream = coded(payloads, extension) + last
    assert decode(cut(stream, positions)) == expected
    assert decode(cut(stream, range(len(stream)))) == expected


def test_a_payload_is_returned_as_it_arrives() -> None:
    """Before its chunk is complete: an event must not wait for a line end without information."""
    decoder = ChunkDecoder()
    assert [decoder.feed(piece) for piece in (b"5\r\nab", b"cde", b"\r", b"\n3", b"\r", b"\nxyz")] == [
        b"ab", b"cde", b"", b"", b"", b"xyz",
    ]  # fmt: skip
    assert decoder.framing is Framing.OPEN


@pytest.mark.parametrize(
    "wrong",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"+5\r\nhello", b"0x5\r\nhello", b"5_0\r\n", b" 5\r\nhello", b"5 5\r\n", b"\n",
     b"1000000000000000\r\n", b"HTTP/1.1 200 OK\r\n", b"f" * 5000],
)  # fmt: skip
@pytest.mark.parametrize("before", [[], [b"a"], [b"abc", b"d"]])
def test_an_invalid_chunk_breaks_the_framing_and_loses_nothing_before_it(wrong: bytes, before: list[bytes]) -> None:
    """The payload before it is returned first."""
    stream = coded(before) + wrong
    for pieces in ([stream], cut(stream, range(len(stream)))):
        assert decode(pieces) == (b"".join(before), Framing.BROKEN)


@pytest.mark.parametrize("wrong", [b"xx", b"\rx", b"\n", b"3\r\n"])
def test_a_chunk_with_a_wrong_size_breaks_the_framing(wrong: bytes) -> None:
    """Its payload is returned: an event in it is complete and must not wait for the next connection."""
    assert decode([b"3\r\nabc" + wrong]) == (b"abc", Framing.BROKEN)
    assert decode([b"3\r\nabc", *cut(wrong, range(len(wrong)))]) == (b"abc", Framing.BROKEN)


def test_a_size_line_may_end_with_lf_only() -> None:
    """http.client accepts it too."""
    assert decode([b"3\nabc\r\n0\n"]) == (b"abc", Framing.ENDED)
