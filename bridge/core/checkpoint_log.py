"""The last word on every session in the checkpoints topic, and which of them the bridge cannot go by. Pure."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from bridge.core.checkpoint_history import CheckpointHistory, Restored
from bridge.core.identity import SessionKey, partition_of
from bridge.core.records import claim
from bridge.core.records.checkpoint import OWN_KEY_PREFIX, BadCheckpoint, Checkpoint, decode, run_of, term_of
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.errors import Mistake
from bridge.settings import checks

_LARGEST_EPOCH = 10**10 - 2
"""A larger one has no successor in 10 digits, and stands in no record."""
_NOTHING = CheckpointHistory()


class CheckpointRecord(NamedTuple):
    """One record of the checkpoints topic: the newest with its key in its partition."""

    partition: int
    offset: int
    written_ms: int
    """Kafka's time of it, in Unix milliseconds."""
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class InvalidCheckpoint:
    """A word that the bridge cannot go by, and why: one line."""

    word: CheckpointRecord
    why: str
    misplaced: Checkpoint | None = None
    """What it says, where nothing is wrong but its partition."""

    @property
    def command(self) -> str:
        """The command that settles it, to be pasted into a shell."""
        if self.misplaced is not None:
            return "mix-bridge checkpoints set --misplaced"
        no_session = session_of(self.word.key) is None
        place = f" --partition {self.word.partition}" if no_session else ""
        return f"mix-bridge checkpoints reset {key_argument(self.word.key)}{place}"

    @property
    def cost(self) -> str:
        """What that command does."""
        if self.misplaced is not None:
            return "puts all such checkpoints where they belong, each in a new epoch at the event id it has"
        if session_of(self.word.key) is None:
            return "forgets that record"
        return "has the session begin anew at start_after_id, in a new epoch"


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """All that stands in the topic about one key."""

    key: bytes
    good: Checkpoint | None
    """The one to go by."""
    words: tuple[CheckpointRecord, ...]
    flaws: tuple[InvalidCheckpoint, ...]

    @property
    def epoch(self) -> int | None:
        """The highest epoch that any of the words tells of, damaged ones included; None when none does."""
        told = [epoch for word in self.words if (epoch := epoch_told(word.value)) is not None]
        if self.good is not None:
            told.append(self.good.position.epoch)
        return max(told, default=None)

    @property
    def furthest(self) -> Checkpoint | None:
        """The one that has come furthest, misplaced ones included."""
        known = [flaw.misplaced for flaw in self.flaws if flaw.misplaced is not None]
        known += [self.good] if self.good is not None else []
        return max(known, key=lambda one: one.position[:2], default=None)


class _Latest(NamedTuple):
    """The newest word with its key in its partition, not yet taken apart."""

    newest_claim: int
    run: tuple[bytes, bytes]
    """Of words with the same run and no claim between them the last one says everything: the others need not be taken
    apart."""
    word: CheckpointRecord


class CheckpointLog:
    """Takes the topic's records, partition by partition in order of offset; one thread.

    A record settles every earlier one with its key in its partition, as compaction has it; what a late word leaves
    behind is told in :mod:`bridge.core.checkpoint_history`.
    """

    def __init__(self, partitions: int, *, keep_words: bool = True) -> None:
        """``keep_words``: also what was written about good ones, for those who show it; a daemon needs no such copy."""
        self._partitions = partitions
        self._keep_words = keep_words
        self._claims: dict[int, tuple[int, Claim]] = {}
        self._newest_claims: defaultdict[int, int] = defaultdict(lambda: -1)
        """By partition: the offset of the newest claim that is known of."""
        self._latest: dict[tuple[int, bytes], _Latest] = {}
        self._checkpoint_histories: dict[bytes, CheckpointHistory] = {}
        self._words: dict[tuple[int, bytes], CheckpointRecord] = {}
        self._flaws: dict[tuple[int, bytes], InvalidCheckpoint] = {}

    def take(self, partition: int, offset: int, written_ms: int, key: bytes, value: bytes | None) -> None:
        """The next record; without a value it is a tombstone."""
        place = (partition, key)
        if key.startswith(OWN_KEY_PREFIX):
            if key == CLAIM_KEY and value is not None:
                self._take_claim(partition, offset, value)
        elif value is None:
            self._forget(place)
        else:
            self._take_word(place, CheckpointRecord(partition, offset, written_ms, key, value))

    def _take_word(self, place: tuple[int, bytes], word: CheckpointRecord) -> None:
        run, newest_claim = run_of(word.value), self._newest_claims[word.partition]
        before = self._latest.get(place)
        if before is None or before.run != run or before.newest_claim != newest_claim:
            if before is not None:
                self._take_apart(place, before)
            if newest_claim < (term := term_of(run)) < word.offset:  # that claim is compacted away
                newest_claim = self._newest_claims[word.partition] = term
        self._latest[place] = _Latest(newest_claim, run, word)

    def _take_claim(self, partition: int, offset: int, value: bytes) -> None:
        self._newest_claims[partition] = offset
        with suppress(BadCheckpoint):  # of a version to come, perhaps: a claim all the same
            self._claims[partition] = (offset, claim.decode(value))

    def _forget(self, place: tuple[int, bytes]) -> None:
        for words in (self._latest, self._words, self._flaws):
            words.pop(place, None)
        if self._is_at_home(place):
            self._checkpoint_histories.pop(place[1], None)

    def _take_apart(self, place: tuple[int, bytes], latest: _Latest) -> None:
        word = latest.word
        self._flaws.pop(place, None)
        flaw = self._judge(word, latest.newest_claim)
        if flaw is not None:
            self._flaws[place] = flaw
        if flaw is not None or self._keep_words:
            self._words[place] = word
        else:
            self._words.pop(place, None)

    def _judge(self, word: CheckpointRecord, newest_claim: int) -> InvalidCheckpoint | None:
        """Keep what it says, or say why not."""
        try:
            checkpoint = decode(word.key, word.value)
        except BadCheckpoint as bad:
            return InvalidCheckpoint(word, str(bad))
        if not self._is_at_home((word.partition, word.key)):
            home = partition_of(word.key, self._partitions)
            why = f"its key belongs to partition {home} of {self._partitions} (were partitions added to the topic?)"
            return InvalidCheckpoint(word, why, checkpoint)
        if checkpoint.term is not None and checkpoint.term >= word.offset:
            checkpoint = replace(checkpoint, term=None)  # of a topic that was here before this one: it says nothing
        is_late = checkpoint.term is not None and checkpoint.term < newest_claim
        known = self._checkpoint_histories.get(word.key, _NOTHING)
        self._checkpoint_histories[word.key] = known.after(checkpoint, word.offset, is_late=is_late)
        return None

    def take_apart(self, most: int | None = None) -> bool:
        """Take so many words apart, all by default; whether any are left. 100,000 take seconds."""
        for place in list(islice(self._latest, most)):
            self._take_apart(place, self._latest.pop(place))
        return bool(self._latest)

    def _is_at_home(self, place: tuple[int, bytes]) -> bool:
        return place[0] == partition_of(place[1], self._partitions)

    def claim_of(self, partition: int) -> tuple[int, Claim] | None:
        """The newest claim that can be read, with its offset."""
        return self._claims.get(partition)

    def restored(self) -> dict[SessionKey, Restored]:
        """Where every session goes on that has a word to go by."""
        self.take_apart()
        found = (checkpoint_history.restored for checkpoint_history in self._checkpoint_histories.values())
        return {each.checkpoint.key: each for each in found if each is not None}

    @property
    def checkpoints(self) -> dict[SessionKey, Checkpoint]:
        """The checkpoint to go by of every session that has one."""
        return {key: restored.checkpoint for key, restored in self.restored().items()}

    @property
    def flaws(self) -> Collection[InvalidCheckpoint]:
        """The words that the bridge cannot go by."""
        self.take_apart()
        return self._flaws.values()

    def stored_checkpoints(self) -> dict[bytes, StoredCheckpoint]:
        """All that stands, by key, sorted."""
        self.take_apart()
        places = defaultdict(list)
        for place in self._words:
            places[place[1]].append(place)
        return {key: self._stored(key, places[key]) for key in sorted(places)}

    def _stored(self, key: bytes, places: Sequence[tuple[int, bytes]]) -> StoredCheckpoint:
        words = tuple(self._words[place] for place in places)
        flaws = tuple(self._flaws[place] for place in places if place in self._flaws)
        restored = self._checkpoint_histories.get(key, _NOTHING).restored
        return StoredCheckpoint(key, None if restored is None else restored.checkpoint, words, flaws)

    def about(self, key: bytes) -> StoredCheckpoint:
        """All that stands about one key, and may be nothing."""
        self.take_apart()
        return self._stored(key, [place for place in self._words if place[1] == key])


def session_of(key: bytes) -> SessionKey | None:
    """The session whose records have this key; None when no server of the settings can be called so."""
    try:
        server, _, session_id = key.decode().partition("/")
        checks.server_name(server)
    except ValueError:
        return None
    return SessionKey(server, session_id) if session_id else None


def key_argument(key: bytes) -> str:
    """The key as a command's argument, for a shell: as it is where a terminal can show and paste it."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text and not text.startswith("-"):
        return shlex.quote(text)
    return f"--key-hex {key.hex() or shlex.quote('')}"


_TOLD = 20
"""Flaws told at once: enough to see what happened, and no flood from a topic of somebody else."""


def mistakes_of(topic: str, flaws: Collection[InvalidCheckpoint]) -> list[Mistake]:
    """What the start says of them: of each the command that settles it."""
    told = [_mistake(topic, flaw) for flaw in list(flaws)[:_TOLD]]
    if len(flaws) > _TOLD:
        more = f"{topic}: {len(flaws) - _TOLD} more such records; `mix-bridge checkpoints list --state bad` lists all"
        told.append(Mistake("topics.checkpoints", more))
    return told


_KEY_SHOWN = 200
"""Characters of a key that are told; the command has all of it."""


def _mistake(topic: str, flaw: InvalidCheckpoint) -> Mistake:
    word = flaw.word
    return Mistake(
        "topics.checkpoints",
        f"{topic} partition {word.partition} offset {word.offset} is no checkpoint to go by (key"
        f" {repr(word.key)[:_KEY_SHOWN]}): {flaw.why}; nothing is bridged before this is settled. Run with the same"
        f" settings (--config, environment, options), this {flaw.cost}: {flaw.command}",
    )


def lenient(value: bytes) -> dict[str, Any]:
    """The members of a value that is some JSON object, whatever is wrong with it; else none."""
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def epoch_told(value: bytes) -> int | None:
    """The epoch that a value tells of, also one that cannot be used otherwise; None when it tells of none."""
    epoch = lenient(value).get("epoch")
    if isinstance(epoch, str) and epoch.isascii() and epoch.isdigit() and len(epoch) <= 10:  # noqa: PLR2004 - the digits of an epoch
        epoch = int(epoch)
    is_one = isinstance(epoch, int) and not isinstance(epoch, bool) and 0 <= epoch <= _LARGEST_EPOCH
    return epoch if is_one else None
