"""Fixtures of the packaging tests."""

from __future__ import annotations

import os

import pytest

from tests.packaging.registry import cannot_connect


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip a test that installs packages on a machine that is offline. In CI such a test fails instead."""
    if os.environ.get("CI") != "true" and cannot_connect(tmp_path_factory.mktemp("probe")):
        pytest.skip("pip cannot connect to the package registry; with CI=true this is a failure")
