"""One Metadata answer of no use, as a broker gives while it starts or elects: delivery continues."""

from __future__ import annotations

import pytest

from tests.support.at_least_once import SESSIONS, Topics, assert_complete
from tests.support.cluster_proxy import Change, ClusterProxy, without_brokers, without_leaders
from tests.support.delivery_topics import events
from tests.support.transactions import Topics as Transactions
from tests.support.transactions import settled
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka
CHANGES = [without_brokers, without_leaders]


@pytest.mark.parametrize("change", CHANGES)
def test_delivery_begins_in_spite_of_metadata_of_no_use(kafka: str, namespace: str, change: Change) -> None:
    """At least once: the first answer to each of the first clients."""
    topics, key = Topics(kafka, namespace), SESSIONS[0]
    with ClusterProxy(kafka) as proxy:
        topics.bootstrap = proxy.bootstrap
        proxy.change(change, change)
        with topics.delivering() as delivery:
            topics.open(delivery, key).submit(events(range(1, 101)))
        assert proxy.is_changed
    topics.bootstrap = kafka
    assert_complete(topics.follow(), key, range(1, 101))


@pytest.mark.parametrize("change", CHANGES)
def test_transactions_continue_in_spite_of_metadata_of_no_use(kafka: str, namespace: str, change: Change) -> None:
    """Exactly once: in the middle of the flow."""
    with ClusterProxy(kafka) as proxy:
        topics = Transactions(kafka, namespace, through=proxy.bootstrap)
        topics.properties = {"topic.metadata.refresh.interval.ms": "100"}
        with topics.replica() as replica:
            one = topics.open(replica, topics.key(0))
            one.submit(events(range(1, 51)))
            settled(one)
            proxy.change(change)
            wait_until(lambda: proxy.is_changed, 10, "the changed answer")
            one.submit(events(range(51, 101)))
            settled(one)
        topics.assert_exactly_once(one.key, 100)
