"""Prometheus' own command line tool: Debian's package ``prometheus``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_NAME = "promtool"


def promtool(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run it. Without it the test is skipped, but not in CI, which installs it."""
    found = shutil.which(_NAME)
    if found is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed (Debian: apt-get install --no-install-recommends prometheus)")
    return subprocess.run([found or _NAME, *arguments], input=stdin, capture_output=True, check=False)
