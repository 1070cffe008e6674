"""The error messages about invalid checkpoints, and the command that repairs each."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.checkpoint_log import CheckpointLog, InvalidCheckpoint
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.stream.overlap import OverlapWindow
from bridge.sharding.invalid_checkpoints import key_argument, mistakes_of, repair_command, session_of

PARTITIONS = 4
HOME = partition_of(b"local/a", PARTITIONS)


def invalid_of(*records: tuple[int, bytes, bytes]) -> list[InvalidCheckpoint]:
    log = CheckpointLog(PARTITIONS)
    for offset, record in enumerate(records):
        partition, key, value = record
        log.add(partition, offset, 0, key, value)
    return list(log.invalid)


def test_a_misplaced_checkpoint_is_moved_by_one_command_for_all() -> None:
    session = SessionKey("local", "a")
    checkpoint = Checkpoint(session, Position(5, 3, "3"), "active", 0, "", OverlapWindow.starting("3"))
    (invalid,) = invalid_of(((HOME + 1) % PARTITIONS, session.record_key, encode(checkpoint)))
    assert repair_command(invalid) == "mix-bridge checkpoints set --misplaced"
    assert "each in a new epoch at its event id" in mistakes_of("t", [invalid])[0].message


KEYS = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=12).map(lambda text: f"local/{text}".encode("utf-8", "surrogatepass")),
).filter(lambda key: not key.startswith(b"#"))


@given(key=KEYS, partition=st.integers(0, PARTITIONS - 1))
def test_the_repair_command_names_exactly_the_key(key: bytes, partition: int) -> None:
    """For every key: a shell splits the command into arguments that hold it byte for byte."""
    (invalid,) = invalid_of((partition, key, b"7"))
    command = repair_command(invalid)
    assert command.isprintable()
    arguments = shlex.split(command)
    assert arguments[:3] == ["mix-bridge", "checkpoints", "reset"]
    named = bytes.fromhex(arguments[4]) if arguments[3] == "--key-hex" else arguments[3].encode()
    assert named == key
    assert (arguments[-2:] == ["--partition", str(partition)]) == (session_of(key) is None)


def test_messages_have_the_place_the_reason_and_the_command_and_are_limited() -> None:
    """At most twenty, then the number of the others; the command ends the line."""
    keys = [f"local/{n}".encode() for n in range(25)]
    mistakes = mistakes_of("t", invalid_of(*((partition_of(key, PARTITIONS), key, b"x") for key in keys)))
    assert len(mistakes) == 21
    assert "partition" in mistakes[0].message
    assert mistakes[0].message.endswith(": mix-bridge checkpoints reset local/0")
    assert mistakes[-1].message.startswith("t: 5 more")
    assert "removes that record" in mistakes_of("t", invalid_of((0, b"\xff", b"x")))[0].message


@pytest.mark.parametrize(
    ("key", "argument"),
    [
        (b"local/abc", "local/abc"),
        (b"local/it's", "'local/it'\"'\"'s'"),
        (b"-x", "--key-hex 2d78"),
        (b"", "--key-hex ''"),
        (b"\xff", "--key-hex ff"),
        ("local/\u202e".encode(), "--key-hex 6c6f63616c2fe280ae"),
    ],
)
def test_a_key_is_an_argument_as_text_or_in_hexadecimal(key: bytes, argument: str) -> None:
    """Text where a terminal can show and paste it."""
    assert key_argument(key) == argument
