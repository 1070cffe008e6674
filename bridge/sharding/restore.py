"""The one reader of the checkpoints topic: takes shards, and listens to those it has taken."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointLog, CheckpointRecord
from bridge.core.records.checkpoint import OWN_KEY_PREFIX, token_suffix
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.kafka.config import below, client_logger, reader_config, settings_judged
from bridge.kafka.errors import in_words
from bridge.sharding.claims import ClaimWriter, is_attempt
from bridge.sharding.read_state import Delays, ShardState, Taken, claim_in, word_of

log = get_logger("bridge.kafka")

_BATCH = 5000
_LOOK, _IDLE = 0.1, 0.5
"""Seconds until a wish is heard while nothing comes; between two beats while nothing is read."""
_PIECE = 5000
"""Checkpoints taken apart between two beats: an eighth of a second's work."""
_TUNING: Mapping[str, Any] = {
    # By default it fetches 64 MiB ahead.
    "queued.max.messages.kbytes": 8 * 1024,
    "queued.min.messages": 20_000,
    # With so little ahead, a second's rest after each fill would be most of the time.
    "fetch.queue.backoff.ms": 5,
    # A partition that is added waits for the fetch that is under way; ten idle requests a second are nothing.
    "fetch.wait.max.ms": 100,
}


class ShardReader:
    """Reads each shard from its beginning to this process's own claim, then listens for words that are not its own.

    Thread rule: ``take``, ``forget``, ``renew``, ``held_up`` and ``stop`` may come from any thread and do not wait; the
    callbacks are called by its own thread, and must not wait either. What was called for before a ``forget`` may still
    come just after it.
    """

    def __init__(  # noqa: PLR0913 - where to read, and whom to tell
        self,
        config: Mapping[str, Any],
        topic: str,
        partitions: int,
        stranger: Callable[[int, CheckpointRecord], None],
        beat: Callable[[], None],
        *,
        patience: float = 30.0,
    ) -> None:
        """``stranger``: told of a word, a tombstone (its value is empty) or a claim that this process did not write.

        In a shard that it has taken, and perhaps more than once. ``patience``: seconds until one counts as held up.
        """
        self.bug: Exception | None = None
        """What ended the thread although nobody asked for its end."""
        self._config = config
        self._topic = topic
        self._partitions = partitions
        self._stranger = stranger
        self._beat = beat
        self._wishes: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._shards: dict[int, ShardState] = {}
        self._endings: dict[int | None, tuple[bytes, ...]] = {}
        """How own words end, of each shard that is taken."""
        self._former_terms: dict[int, list[int]] = {}
        self._consumer: Consumer | None = None
        self._claims = ClaimWriter(config, topic)
        self._patience = patience
        self._delays = Delays(topic, patience, self._why)
        self._thread = threading.Thread(target=self._run, name="shards", daemon=True)

    def take(self, shard: int, claim: Claim, taken: Callable[[Taken], None], after: int = 0) -> None:
        """Claim a shard and read it from the offset ``after`` on; ``taken`` is called when the claim has come by.

        Nothing else proves that all is read. A shard that is taken already is claimed and read again.
        """
        self._wish(partial(self._begin, shard, claim, taken, after))

    def forget(self, shard: int) -> None:
        """Let a shard go, taken or not."""
        self._wish(partial(self._end, shard))

    def renew(self, partitions: int) -> None:
        """The topic is a new one: no shard is taken any more, and those that are being taken begin again."""
        self._wish(partial(self._begin_again, partitions))

    def held_up(self) -> Mapping[int, str]:
        """Which shards cannot be read to the claim, and why: one line each."""
        return self._delays.held_up

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end."""
        self._stopping.set()
        self._wake.set()

    def join(self, deadline: float) -> bool:
        """Wait for the thread until ``deadline``; True when it has ended."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    def _wish(self, wish: Callable[[], None]) -> None:
        self._wishes.append(wish)
        self._wake.set()

    # The thread

    def _run(self) -> None:
        try:
            self._reading()  # both clients are connected by the time they are needed
            self._claims.prepare()
            while not self._stopping.is_set():
                self._beat()
                self._turn()
        except Exception as bug:  # noqa: BLE001 - the main thread raises it: a thread's own death would go unnoticed
            self.bug = bug
        finally:
            self._claims.close()
            self._close()

    def _turn(self) -> None:
        try:
            while self._wishes:
                self._wishes.popleft()()
            if self._shards:
                self._read_on()
            else:
                self._wake.wait(_IDLE)
                self._wake.clear()
        except KafkaException as exception:
            log.warning("reading the checkpoints failed: going on with a new client", error=str(exception))
            self._close()
            self._stopping.wait(_IDLE)
            if self._shards:
                self._assign_all()

    def _read_on(self) -> None:
        self._claims.turn()
        self._sort(self._next())
        self._delays.look(self._shards)
        for number in self._delays.held_up:
            self._claim_again(number, self._shards[number])

    def _next(self) -> list[Message]:
        consumer = self._reading()
        if all(shard.log is None for shard in self._shards.values()):
            return consumer.consume(_BATCH, _LOOK)  # few turns, whatever comes
        # `consume` alone would wait for its whole time-out while it has fewer than asked for.
        first = consumer.consume(1, _LOOK)
        return [*first, *consumer.consume(_BATCH, 0)] if first else []

    def _sort(self, messages: Sequence[Message]) -> None:
        endings = self._endings
        for message in messages:
            value = message.value()
            # Own words come at thousands a second: this is all that is done about them.
            if value is None or not value.endswith(endings.get(message.partition(), ())):
                self._look_at(message)

    def _look_at(self, message: Message) -> None:
        number = message.partition()
        shard = None if number is None else self._shards.get(number)
        if number is None or shard is None:
            return
        if (error := message.error()) is not None:
            self._note(number, shard, error)
            return
        word = word_of(number, message)
        if shard.log is not None:
            self._read(number, shard, word, shard.log, is_tombstone=message.value() is None)
        elif not word.key.startswith(OWN_KEY_PREFIX) or (word.key == CLAIM_KEY and word.value):
            self._stranger(number, word)

    def _read(
        self, number: int, shard: ShardState, word: CheckpointRecord, restored: CheckpointLog, *, is_tombstone: bool
    ) -> None:
        shard.moved, shard.trouble = monotonic(), None
        shard.records += 1
        claim = claim_in(word)
        if claim is not None and claim.nonce == self._claims.nonce(number):
            self._complete(number, shard, word.offset, restored)
            return
        if claim is not None and not is_attempt(claim, shard.claim):
            shard.previous = claim
        restored.add(number, word.offset, word.written_ms, word.key, None if is_tombstone else word.value)

    def _complete(self, number: int, shard: ShardState, term: int, restored: CheckpointLog) -> None:
        while restored.parse(_PIECE):  # here, and not where somebody waits for it
            self._beat()
        shard.log = None
        shard.terms.append(term)
        self._endings[number] = tuple(map(token_suffix, shard.terms))
        self._claims.forget(number)
        self._delays.over(number, shard)
        shard.taken(Taken(number, term, shard.previous, restored))

    # Wishes

    def _begin(self, number: int, claim: Claim, taken: Callable[[Taken], None], after: int) -> None:
        before = self._shards.get(number)
        # What was on its way when the topic was created anew ends as our words of the old one did.
        terms = self._former_terms.get(number, []) if before is None else before.terms
        self._end(number)
        self._shards[number] = ShardState(
            claim, taken, after, CheckpointLog(self._partitions, keep_records=False), terms
        )
        self._claims.write(number, claim)
        self._reading().incremental_assign([TopicPartition(self._topic, number, after)])

    def _end(self, number: int) -> None:
        self._former_terms.pop(number, None)
        shard = self._shards.pop(number, None)
        if shard is None:
            return
        self._endings.pop(number, None)
        self._claims.forget(number)
        self._delays.over(number, shard)
        if self._consumer is not None:
            self._consumer.incremental_unassign([TopicPartition(self._topic, number)])

    def _begin_again(self, partitions: int) -> None:
        log.warning("the checkpoints topic is a new one: its shards are taken again", shards=sorted(self._shards))
        self._claims.close()
        self._close()  # new clients learn anew what partitions there are
        self._partitions = partitions
        self._endings.clear()
        shards, self._shards = self._shards, {}
        for number, shard in shards.items():
            self._delays.over(number, shard)
            self._former_terms[number] = shard.terms
            if shard.log is not None:
                self._begin(number, shard.claim, shard.taken, 0)

    def _claim_again(self, number: int, shard: ShardState) -> None:
        """The topic may have been deleted with the claim in it."""
        if self._claims.missing(number) is None and monotonic() - shard.claimed > self._patience:
            shard.claimed = monotonic()
            self._claims.write(number, shard.claim)

    # The client

    def _reading(self) -> Consumer:
        if self._consumer is None:
            config = reader_config(below(_TUNING, self._config), "read_committed")
            with settings_judged():
                self._consumer = Consumer(config, logger=client_logger())
        return self._consumer

    def _close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _assign_all(self) -> None:
        """With a new client: what is taken goes on behind its claim, everything else begins again."""
        for shard in self._shards.values():
            if shard.log is not None:
                shard.log = CheckpointLog(self._partitions, keep_records=False)
        starts = {n: each.after if each.log is not None else each.terms[-1] + 1 for n, each in self._shards.items()}
        self._reading().incremental_assign([TopicPartition(self._topic, n, start) for n, start in starts.items()])

    # What does not come

    def _note(self, number: int, shard: ShardState, error: KafkaError) -> None:
        if shard.trouble != in_words(error):
            shard.trouble = in_words(error)
            log.warning("a shard cannot be read at the moment: trying on", shard=number, error=shard.trouble)

    def _why(self, number: int, shard: ShardState) -> str:
        missing = self._claims.missing(number) or shard.trouble
        if missing is not None:
            return missing
        place = f"--topic {self._topic} --partition {number}"
        at = max(0, self._reading().position([TopicPartition(self._topic, number)])[0].offset)
        return (
            f"somebody's open transaction on {self._topic} partition {number} holds back what lies behind offset {at},"
            " or no broker answers. End its producer, or wait until Kafka ends it (transaction.timeout.ms), or find it"
            f" with Kafka's own `kafka-transactions.sh --bootstrap-server ... describe-producers {place}` (its"
            f" CurrentTransactionStartOffset is {at}) and end it with `... abort {place} --start-offset {at}`"
        )
