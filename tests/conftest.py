"""Fixtures of all tests: the real Kafka, and a namespace in it for each test."""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import record_names
from tests.support.broker import Broker, Cluster
from tests.support.processes import fork_from_now_on
from tests.support.shared import shared_broker
from tests.support.waiting import SCALE

settings.register_profile("anywhere", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("anywhere")
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI") == "true":  # the same examples each time; `make test` elsewhere searches for new ones
    settings.load_profile("ci")

if os.environ.get("TEST_FORK") != "0":
    fork_from_now_on()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Limit the time of each test, and mark those that use a real Kafka: ``-m 'not kafka'`` runs without Java."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(240 * SCALE))
        if {"kafka", "private_broker", "pausable_broker", "private_cluster"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session", autouse=True)
def described_names() -> Iterator[None]:
    """Fail at the end if a test read a header or a member that docs/records.md does not describe."""
    yield
    assert record_names.undescribed == set(), "not described in docs/records.md"


@pytest.fixture
def numbers_of_any_length() -> Iterator[None]:
    """Let Python's own JSON parser accept integers of more than 4300 digits."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``bootstrap.servers`` of the shared broker. Do not stop it; use topics of your ``namespace`` only."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' folders have one parent
    with shared_broker(base / "shared-kafka") as bootstrap:
        yield bootstrap


@pytest.fixture
def private_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker for one test, which may kill, pause and restart it."""
    with Broker(tmp_path / "kafka") as broker:
        yield broker


@pytest.fixture(scope="module")
def broker_of_the_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of ``pausable_broker``."""
    with Broker(tmp_path_factory.mktemp("broker") / "kafka") as broker:
        yield broker


@pytest.fixture
def pausable_broker(broker_of_the_file: Broker) -> Iterator[Broker]:
    """A broker for the tests of one file, which may pause it; it is resumed after each test."""
    yield broker_of_the_file
    broker_of_the_file.resume()


@pytest.fixture
def private_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three brokers for one test."""
    with Cluster(tmp_path / "kafka") as cluster:
        yield cluster


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """A unique namespace for topics, groups and transactional ids."""
    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    return f"{readable}-{uuid.uuid4().hex[:8]}"
