"""The reader of the checkpoints topic: it restores shards, and watches the owned ones for foreign records."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointLog, CheckpointRecord
from bridge.core.records.checkpoint import OWN_KEY_PREFIX
from bridge.core.records.claim import Claim
from bridge.errors import Unreachable
from bridge.kafka.errors import in_words
from bridge.kafka.reader import FOLLOWING, KafkaMessage, PartitionReader, stored_record
from bridge.sharding.claims import ClaimWriter, claim_in, is_attempt
from bridge.sharding.restore_progress import (
    OF_SHARDS,
    OwnCheckpoints,
    Restore,
    RestoredShard,
    RestoreProgress,
    add_record,
    checkpoint_record,
    open_transaction,
)

log = get_logger("bridge.kafka")

_BATCH = 5000
_POLL, _IDLE = 0.1, 0.5
"""Seconds until a request is noticed while no record comes; between two heartbeats while no shard is read."""
_PARSE = 5000
"""Checkpoints that are parsed between two heartbeats: an eighth of a second's work."""


class ShardReader:
    """Reads each shard from its beginning to this process's own claim, then reports records of other writers.

    Thread rule: public methods are for any thread and do not wait; the callbacks run on its own thread, and must not
    wait either. A callback that was requested before a ``forget`` may still come just after it.
    """

    def __init__(  # noqa: PLR0913 - where to read, and the callbacks
        self,
        config: Mapping[str, Any],
        topic: str,
        partitions: int,
        on_foreign_record: Callable[[int, CheckpointRecord], None],
        heartbeat: Callable[[], None],
        *,
        timeout: float = 30.0,
    ) -> None:
        """``on_foreign_record``: called for a checkpoint, tombstone (empty value) or claim of another process.

        And for an own checkpoint behind a newer one. ``timeout``: seconds until a shard counts as held up.
        """
        self.bug: Exception | None = None
        self._config, self._topic, self._partitions, self._timeout = config, topic, partitions, timeout
        self._on_foreign_record, self._heartbeat = on_foreign_record, heartbeat
        self._requests: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._restores: dict[int, Restore] = {}
        self._own: dict[int | None, OwnCheckpoints] = {}  # by restored shard
        self._former: dict[int, OwnCheckpoints] = {}  # of a topic that was recreated
        self._reader: PartitionReader | None = None
        self._claims = ClaimWriter(config, topic)
        self._progress = RestoreProgress(topic, timeout, self._why)
        self._thread = threading.Thread(target=self._run, name="shards", daemon=True)

    def restore(self, shard: int, claim: Claim, done: Callable[[RestoredShard], None], after: int = 0) -> None:
        """Claim a shard and read it from the offset ``after``; ``done`` is called when the claim was read.

        Only the own claim proves that everything was read. A restored shard can be restored again.
        """
        self._request(partial(self._begin, shard, claim, done, after))

    def put(self, shard: int, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Write a checkpoint, or a tombstone, before the claim of the next ``restore``."""
        self._request(partial(self._claims.put, shard, key, value, headers))

    def forget(self, shard: int) -> None:
        self._request(partial(self._end, shard))

    def topic_was_recreated(self, partitions: int) -> None:
        """Forget the restored shards, and restart those that are being restored."""
        self._request(partial(self._restart, partitions))

    def renew_client(self) -> None:
        """Use new clients, with the certificates as they are now."""
        self._request(self._renew)

    def held_up(self) -> Mapping[int, str]:
        """The shards that cannot be read to the claim, and why: one line each."""
        return self._progress.held_up

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def join(self, deadline: float) -> bool:
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    def _request(self, request: Callable[[], None]) -> None:
        self._requests.append(request)
        self._wake.set()

    def _run(self) -> None:
        try:
            self._open()  # both clients are connected by the time they are needed
            self._claims.prepare()
            while not self._stopping.is_set():
                self._heartbeat()
                self._turn()
        except Exception as bug:  # noqa: BLE001 - the main thread raises it: nobody would notice that the thread died
            self.bug = bug
        finally:
            self._claims.close()
            self._close()

    def _turn(self) -> None:
        try:
            while self._requests:
                self._requests.popleft()()
            if self._restores:
                self._read()
            else:
                self._wake.wait(_IDLE)
                self._wake.clear()
        except Unreachable as failure:
            log.warning("reading the checkpoints failed: continuing with a new client", error=str(failure))
            self._close()
            self._stopping.wait(_IDLE)
            if self._restores:
                self._assign_all()

    def _read(self) -> None:
        self._claims.turn()
        # While everything is restored: few turns, however many records come.
        is_restored = all(each.log is None for each in self._restores.values())
        self._sort(self._open().poll(_BATCH, _POLL, fill=is_restored))
        self._progress.check(self._restores)
        for shard in self._progress.held_up:
            self._claim_again(shard, self._restores[shard])
        self._check_client(self._open())

    def _check_client(self, reader: PartitionReader) -> None:
        """Raise ``Unreachable`` if the client is stuck: it does not know of a claim that Kafka has acknowledged."""
        ends = {shard: reader.end((self._topic, shard)) for shard in self._progress.held_up}
        is_unread = any(self._claims.is_unread(shard, end, self._timeout / 2) for shard, end in ends.items())
        if is_unread and self._progress.must_renew(self._restores):
            raise Unreachable("Kafka has more records than the client reads")

    def _sort(self, messages: Sequence[KafkaMessage]) -> None:
        for message in messages:
            # Own checkpoints come at thousands a second: not much is done about them.
            value, own = message.value(), self._own.get(message.partition())
            if value is None or own is None or not value.endswith(own.suffixes):
                self._examine(message)
            elif own.is_late(message.offset() or 0, message.key() or b"", value):
                record = checkpoint_record(stored_record(message))
                self._on_foreign_record(record.partition, record._replace(is_own=True))

    def _examine(self, message: KafkaMessage) -> None:
        shard = message.partition()
        restore = None if shard is None else self._restores.get(shard)
        if shard is None or restore is None:
            return
        if (error := message.error()) is not None:
            if restore.error != in_words(error):
                restore.error = in_words(error)
                log.warning("a shard cannot be read at present: retrying", shard=shard, error=restore.error)
            return
        stored = stored_record(message)
        record = checkpoint_record(stored)
        if restore.log is not None:
            self._add(restore, record, restore.log, is_tombstone=stored.value is None)
        elif not record.key.startswith(OWN_KEY_PREFIX) or (record.key in OF_SHARDS and record.value):
            self._on_foreign_record(shard, record)

    def _add(self, restore: Restore, record: CheckpointRecord, found: CheckpointLog, *, is_tombstone: bool) -> None:
        restore.read_at, restore.error = monotonic(), None
        restore.records += 1
        claim = claim_in(record)
        if claim is not None and claim.nonce == self._claims.nonce(record.partition):
            self._complete(restore, record, found)
            return
        if claim is not None and not is_attempt(claim, restore.claim):
            restore.previous = claim
        restore.own.note(record)
        add_record(found, record, is_tombstone=is_tombstone)

    def _complete(self, restore: Restore, own_claim: CheckpointRecord, found: CheckpointLog) -> None:
        while found.parse(_PARSE):  # here, and not in a thread that others wait for
            self._heartbeat()
        shard, token = own_claim.partition, own_claim.offset
        restore.log = None
        restore.own.claimed(token)
        self._own[shard] = restore.own
        self._claims.forget(shard)
        self._progress.end(shard, restore)
        restore.done(RestoredShard(shard, token, restore.previous, found))

    # Requests

    def _begin(self, shard: int, claim: Claim, done: Callable[[RestoredShard], None], after: int) -> None:
        before = self._restores.get(shard)
        # Checkpoints that were on their way when the topic was recreated end as our own in the old topic did.
        own = self._former.get(shard, OwnCheckpoints()) if before is None else before.own
        self._end(shard)
        self._restores[shard] = Restore(claim, done, after, CheckpointLog(self._partitions, keep_records=False), own)
        self._claims.write(shard, claim)
        self._open().assign({(self._topic, shard): after})

    def _end(self, shard: int) -> None:
        self._former.pop(shard, None)
        restore = self._restores.pop(shard, None)
        if restore is None:
            return
        self._own.pop(shard, None)
        self._claims.forget(shard)
        self._progress.end(shard, restore)
        if self._reader is not None:
            self._reader.unassign([(self._topic, shard)])

    def _restart(self, partitions: int) -> None:
        log.warning("the checkpoints topic was recreated: reading its shards again", shards=sorted(self._restores))
        self._claims.close()
        self._close()  # new clients learn which partitions there are
        self._partitions = partitions
        self._own.clear()
        restores, self._restores = self._restores, {}
        for shard, restore in restores.items():
            self._progress.end(shard, restore)
            self._former[shard] = restore.own.of_recreated_topic()
            if restore.log is not None:
                self._begin(shard, restore.claim, restore.done, 0)

    def _renew(self) -> None:
        self._claims.renew()
        self._close()
        if self._restores:
            self._assign_all()

    def _claim_again(self, shard: int, restore: Restore) -> None:
        """Write the claim again: the topic may have been deleted with the claim in it."""
        if self._claims.missing(shard) is None and monotonic() - restore.claimed_at > self._timeout:
            restore.claimed_at = monotonic()
            self._claims.write(shard, restore.claim)

    def _open(self) -> PartitionReader:
        if self._reader is None:
            self._reader = PartitionReader(self._config, FOLLOWING)
        return self._reader

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _assign_all(self) -> None:
        """Assign all shards to a new client: restored ones from behind their claim, the others from the start."""
        for restore in self._restores.values():
            if restore.log is not None:
                restore.log = CheckpointLog(self._partitions, keep_records=False)
        self._open().assign(
            {
                (self._topic, shard): each.after if each.log is not None else each.own.token + 1
                for shard, each in self._restores.items()
            }
        )

    def _why(self, shard: int, restore: Restore) -> str:
        missing = self._claims.missing(shard) or restore.error
        if missing is not None:
            return missing
        return open_transaction(self._topic, shard, max(0, self._open().position((self._topic, shard))))
