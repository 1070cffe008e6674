"""``python -m bridge.simulator``: a simulated Mix server that serves until SIGTERM or SIGINT."""

from __future__ import annotations

import queue
import signal
import sys
from collections.abc import Sequence

from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.options import parse_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. The first line on stdout is the URL."""
    server = MixServer(parse_options(sys.argv[1:] if arguments is None else arguments))
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.put(received))
    try:
        url = server.start()
    except (OSError, OverflowError, ValueError) as failure:
        print(f"simulator: {failure}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    print(url, flush=True)  # noqa: T201 - a command's output
    signals.get()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
