"""Commands, one thin file per family. Only this package exits the process."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence

from bridge import __version__
from bridge.cli.standard_streams import exit_at_once, open_missing, print_error
from bridge.errors import EXIT_BUG, EXIT_FATAL, EXIT_FOUND, EXIT_OK, BridgeError

_INTERRUPTED = 128 + 2
"""Shells report this code for a command that SIGINT ended; with zero, `check && deploy` would continue."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk that the output goes to is full, or a quota or limit of the user is reached."""


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
