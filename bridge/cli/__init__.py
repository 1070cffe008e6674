"""Commands, one thin file per family, and how the process starts and ends. Only this package exits it."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

from bridge import __version__
from bridge.errors import EXIT_BUG, EXIT_FATAL, EXIT_FOUND, EXIT_OK, BridgeError

_INTERRUPTED = 128 + 2
"""Shells report this code for a command that SIGINT ended; with zero, `check && deploy` would continue."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk that the output goes to is full, or a quota or limit of the user is reached."""
_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_READER_TIMEOUT = 1.0
"""Seconds that the reader of stderr has to take the next part of an error."""
_PART = select.PIPE_BUF
"""A pipe that is ready takes this many bytes without waiting."""


def main() -> None:
    """The ``mix-bridge`` command. Always ends with an exit code of the interface."""
    open_missing()
    arguments = sys.argv[1:]
    if "--version" in arguments:  # anywhere, and before anything slow is imported
        try:
            sys.stdout.write(f"mix-bridge {__version__}\n")
            sys.stdout.flush()
        except BrokenPipeError:  # Python would flush once more at its end, and complain
            exit_at_once(EXIT_FOUND)
        return
    if "run" in arguments:
        _handle_signals_of_start()
    try:
        from bridge.cli.app import app

        app(prog_name="mix-bridge")  # also as `python -m bridge`: completion is for this name
    except BridgeError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # it may have been interrupted because nobody reads its output
            exit_at_once(_INTERRUPTED)
        raise
    except KeyboardInterrupt:  # while typer was still being imported; later typer does the same
        sys.exit(_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - here it becomes an exit code
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            print_error(f"the output cannot be written: {error.strerror}")
            exit_at_once(EXIT_FATAL)  # Python would try to write the rest, and fail again
        _report_bug(error, arguments)
        sys.exit(EXIT_BUG)


def _handle_signals_of_start() -> None:
    """Until the daemon handles signals itself: a reload is no end, and a stop ends the process, which has read nothing.

    The kernel drops a signal without a handler that is sent to the first process of a container: that container would
    run on until it is killed.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(EXIT_OK))


def _report_bug(error: Exception, arguments: Sequence[str]) -> None:
    """Print one line, without the error's own text, which may contain a secret; a traceback if the level is debug."""
    import traceback

    # The settings are not used, because the bug may be in reading them.
    text = " ".join(arguments).lower()
    is_option = any(words in text for words in ("--log-level debug", "--log-level=debug", "log.level=debug"))
    if is_option or os.environ.get("MIX_BRIDGE_LOG__LEVEL", "").lower() == "debug":
        print_error("".join(traceback.format_exception(error)).rstrip())
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name} ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    print_error(
        f"mix-bridge {__version__}: a bug: {type(error).__name__}{place}; please report it with the command and the"
        " traceback that --log-level debug adds (look it over for secrets)"
    )


def open_missing() -> None:
    """Open ``/dev/null`` in place of each that is closed; before any other file is opened.

    Otherwise the first connections of the process get these numbers, and a line that the Kafka client or the
    interpreter writes to standard error would get into a stream of Kafka's protocol.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for ever
            setattr(sys, f"__{name}__", getattr(sys, name))


def print_error(message: str) -> None:
    """Print a message to stderr, after the log lines so far. Given up when its reader takes nothing for a second."""
    stderr: TextIO | None = sys.stderr
    if not message or stderr is None:
        return
    _flush_logs()
    is_own = stderr is sys.__stderr__
    if not is_own:  # replaced: by a test, or by the demo's screen
        stderr.write(f"{message}\n")
        return
    # Without Python's buffer, which would be flushed again at exit, without a timeout.
    descriptor, data = stderr.fileno(), f"{message}\n".encode(stderr.encoding, "backslashreplace")
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    with suppress(OSError, ValueError):  # its reader is gone, or it is closed
        while data and ready.poll(_READER_TIMEOUT * 1000):
            data = data[os.write(descriptor, data[:_PART]) :]


def exit_at_once(code: int) -> NoReturn:
    """End the process without waiting for its threads or for a reader of its output; log lines have a moment."""
    _flush_logs()
    os._exit(code)


def exit_if_unread(code: int, is_noticed: Callable[[], bool], seconds: int = 5) -> None:
    """End the process after a while, unless it has noticed the signal that is being handled.

    For signal handlers that only tell the main thread: it may wait for a reader of stdout, for ever.
    """

    def ring(_number: int, _frame: object) -> None:
        if not is_noticed():
            os._exit(code)

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)


def _flush_logs() -> None:
    if "bridge.observe.log_writer" in sys.modules:  # otherwise nothing was logged, and importing it would take time
        from bridge.observe.log_writer import flush_logs

        flush_logs()
