"""Programs that a test needs and that a machine may lack."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI, which installs what is missing: otherwise nobody would notice."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
