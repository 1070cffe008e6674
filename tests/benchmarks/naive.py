"""The bridge that a user would write in an afternoon: the reference for measurements, not an example to follow.

It is fast and loses events: it has no checkpoints, no order across a reconnect and no validation, and it publishes an
incomplete event at the end of a stream. ``python -m tests.benchmarks.naive URL BOOTSTRAP TOPIC SESSION...``
"""

from __future__ import annotations

import json
import signal
import sys
import threading

import requests
from confluent_kafka import KafkaError, Message, Producer
from sseclient import SSEClient

# As large as one read of urllib3 may be: the quickest choice for a body sent in HTTP chunks.
PIECE = 65536


def delivered(error: KafkaError | None, message: Message) -> None:
    """What the examples of Kafka's client do with a delivery report."""
    if error is not None:
        print(f"delivery of {message.key()!r} failed: {error}", file=sys.stderr)


def bridge(url: str, session: str, producer: Producer, topic: str) -> None:
    """Copy one session's events to Kafka until the stream ends."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "0"}
    with requests.get(f"{url}/stream?sessionId={session}", headers=headers, stream=True, timeout=60) as response:
        response.raise_for_status()
        for event in SSEClient(response.iter_content(PIECE)).events():
            if event.event in {"connected", "heartbeat"}:
                continue
            data = json.loads(event.data)
            value = json.dumps({"id": event.id, "event": event.event, "session": session, "data": data})
            while True:
                try:
                    producer.produce(topic, value, key=session, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)


def main(url: str, bootstrap: str, topic: str, *sessions: str) -> None:
    """One thread for each session, one producer for all; until SIGTERM."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for session in sessions:
        threading.Thread(target=bridge, args=(url, session, producer, topic), daemon=True).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    producer.flush(10)


if __name__ == "__main__":
    # Blocked in all threads, so that sigwait gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(*sys.argv[1:])
