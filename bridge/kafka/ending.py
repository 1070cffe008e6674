"""The end of a Kafka client."""

from __future__ import annotations

import threading
from collections.abc import Callable

from confluent_kafka import Producer

_LAST_POLLS = 10
"""A poll that raises runs no report: this is the limit of fatal errors before a poll that runs all reports."""


def end_client(last: list[Producer], note: Callable[[Exception], object]) -> None:
    """Purge a client's queue, run the reports that are already known, and end the client.

    ``last`` holds the only reference to it. Client and owner refer to each other, so otherwise its threads and
    connections live until the garbage is collected. The end waits for its threads, so another thread does it.
    """
    last[0].purge()
    for _ in range(_LAST_POLLS):
        try:
            last[0].poll(0)
        except Exception as exception:  # noqa: BLE001 - fatal errors are raised before the reports run
            note(exception)
        else:
            break
    try:
        threading.Thread(target=last.clear, name="end of a Kafka client", daemon=True).start()
    except RuntimeError:  # the limit of threads
        last.clear()
