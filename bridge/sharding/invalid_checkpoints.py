"""The error messages about invalid checkpoints, each with the command that repairs it."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from structlog.stdlib import get_logger

from bridge.core.checkpoint_log import InvalidCheckpoint
from bridge.core.identity import SessionKey
from bridge.core.records.claim import Claim
from bridge.errors import Mistake
from bridge.settings import checks

log = get_logger("bridge.shards")

_SHOWN = 20
"""Messages at once: enough to see what happened, and no flood from a topic of another program."""
_KEY_SHOWN = 200
"""Characters of a key in a message; the command has all of it."""


def session_of(key: bytes) -> SessionKey | None:
    """The session whose records have this key; None when the settings allow no server with this name."""
    try:
        server, _, session_id = key.decode().partition("/")
        checks.server_name(server)
    except ValueError:
        return None
    return SessionKey(server, session_id) if session_id else None


def key_argument(key: bytes) -> str:
    """The key as a shell argument: as text where a terminal can show and paste it, otherwise in hexadecimal."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text and not text.startswith("-"):
        return shlex.quote(text)
    return f"--key-hex {key.hex() or shlex.quote('')}"


def repair_command(invalid: InvalidCheckpoint) -> str:
    """The command that repairs it, to paste into a shell."""
    if invalid.misplaced is not None:
        return "mix-bridge checkpoints set --misplaced"
    key = invalid.record.key
    place = f" --partition {invalid.record.partition}" if session_of(key) is None else ""
    return f"mix-bridge checkpoints reset {key_argument(key)}{place}"


def repair_effect(invalid: InvalidCheckpoint) -> str:
    """The effect of that command."""
    if invalid.misplaced is not None:
        return "moves all such checkpoints to their partitions, each in a new epoch at its event id"
    if session_of(invalid.record.key) is None:
        return "removes that record"
    return "restarts the session at start_after_id, in a new epoch"


def mistakes_of(topic: str, invalid: Collection[InvalidCheckpoint]) -> list[Mistake]:
    """The errors that end the start: for each record its place, the reason, and the command that repairs it."""
    mistakes = [_mistake(topic, each) for each in list(invalid)[:_SHOWN]]
    if len(invalid) > _SHOWN:
        more = f"{len(invalid) - _SHOWN} more such records; `mix-bridge checkpoints list --state bad` lists all"
        mistakes.append(Mistake("topics.checkpoints", f"{topic}: {more}"))
    return mistakes


def _mistake(topic: str, invalid: InvalidCheckpoint) -> Mistake:
    record = invalid.record
    return Mistake(
        "topics.checkpoints",
        f"{topic} partition {record.partition} offset {record.offset} is not a valid checkpoint (key"
        f" {repr(record.key)[:_KEY_SHOWN]}): {invalid.why}; nothing is bridged until it is repaired. Run this with the"
        f" same settings (--config, environment, options); it {repair_effect(invalid)}: {repair_command(invalid)}",
    )


def mistakes_of_shard(
    topic: str, own: Claim, former: Claim | None, invalid: Collection[InvalidCheckpoint]
) -> list[Mistake]:
    """The errors because of which a shard cannot be owned; ``former``: the newest claim of another process."""
    if former is not None and former.shards != own.shards:
        return [_other_shard_count(topic, former, own.shards)]
    if former is not None and former.servers != own.servers:
        log.warning(
            "the last owner of this shard had other servers in its settings: if it still runs, give both the same",
            owner=former.owner,
        )
    return mistakes_of(topic, invalid)


def _other_shard_count(topic: str, former: Claim, count: int) -> Mistake:
    """The error that the topic had another number of partitions when it was last used."""
    return Mistake(
        "topics.checkpoints",
        f"{topic} has {count} partitions, but {former.owner} owned a shard of {former.shards}: with another number of"
        " shards, sessions belong to other partitions and would start again; nothing is bridged until this is fixed."
        " Perhaps partitions were added. The fix: `mix-bridge checkpoints export --output positions.json`, name a new"
        " topic with as many partitions as you want (topics.checkpoints, topics.shards), `mix-bridge checkpoints import"
        " positions.json`, start",
    )
