"""Commands: one thin file per family; the only place that exits the process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from bridge import __version__
from bridge.errors import EXIT_BUG, BridgeError

_INTERRUPTED = 128 + 2  # what shells say of a command that SIGINT ended; zero would let `check && deploy` go on


def main() -> None:
    """The ``mix-bridge`` command. Always ends in an exit code of the interface; the one place that chooses it."""
    arguments = sys.argv[1:]
    if "--version" in arguments:  # anywhere, and before anything slow is imported
        sys.stdout.write(f"mix-bridge {__version__}\n")
        return
    try:
        from bridge.cli.app import app  # noqa: PLC0415 - typer costs more than all that --version needs

        app()
    except BridgeError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # while typer was still being imported; later it does the same
        sys.exit(_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last one that can turn it into an exit code
        _report_bug(error, debug=_wants_traceback(arguments))
        sys.exit(EXIT_BUG)


def _complain(message: str) -> None:
    if message:
        sys.stderr.write(f"{message}\n")


def _report_bug(error: Exception, *, debug: bool) -> None:
    """One line. The error's own text is left out: nobody has looked whether it holds a secret."""
    import traceback  # noqa: PLC0415 - only for a bug

    if debug:
        traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name} ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    _complain(
        f"mix-bridge {__version__}: a bug: {type(error).__name__}{place}; please report it with the command and the"
        " traceback that --log-level debug adds (look it over for secrets)"
    )


def _wants_traceback(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> bool:
    """Whether the log level is debug: a bug may come before, or from, the reading of the settings themselves."""
    import os  # noqa: PLC0415 - only for a bug

    variables = os.environ if environ is None else environ
    text = " ".join(arguments).lower()
    asked = any(words in text for words in ("--log-level debug", "--log-level=debug", "log.level=debug"))
    return asked or variables.get("MIX_BRIDGE_LOG__LEVEL", "").lower() == "debug"
