"""Tell a registry that cannot be reached from one that answers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.packaging.commands import attempt

# pip's warning for an attempt that never got a connection. An answer of any kind, a bad certificate included, is
# reported in other words.
_NO_CONNECTION = re.compile(r"connection broken by '(NewConnectionError|ConnectTimeoutError|ProxyError|NameResolution)")


def cannot_connect(folder: Path, **variables: str) -> bool:
    """Whether pip gets no connection to its registry at all. Asks for one small package and installs nothing."""
    # pip warns about a failed connection only when it tries again, so one retry is the least that shows it.
    done = attempt(
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--no-cache-dir"),
        "editables",
        cwd=folder,
        PIP_RETRIES="1",
        PIP_DEFAULT_TIMEOUT="10",
        **variables,
    )
    return done.returncode != 0 and _NO_CONNECTION.search(done.stdout) is not None
