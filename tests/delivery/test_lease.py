"""A lease waits for a proof of membership, over suspensions of any length."""

from __future__ import annotations

from collections.abc import Callable

from bridge.clock import monotonic
from bridge.delivery.lease import Lease
from tests.fakes.membership import SoleOwner


class Interrupted(SoleOwner):
    """A prover that is interrupted by a suspension, which is over before the lease is looked at again."""

    def __init__(self, *, is_closed_then: bool) -> None:
        self.lease = Lease(0, self)
        self.asked: list[float] = []
        self.is_closed_then = is_closed_then

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:
        self.asked.append(since)
        if len(self.asked) > 1:
            return not self.is_closed_then
        self.lease.suspend()
        assert is_over()
        self.lease.resume()
        return False


def test_a_suspension_that_is_over_at_once_does_not_end_the_wait_for_a_proof() -> None:
    """Exactly once: otherwise the shard's thread would end, as if its lease were over, and nobody would notice."""
    prover, began = Interrupted(is_closed_then=False), monotonic()
    assert prover.lease.prove()
    assert len(prover.asked) == 2
    assert prover.asked[0] >= began
    assert not prover.lease.is_over


def test_the_wait_for_a_proof_ends_with_the_membership() -> None:
    """Although its lease is active."""
    prover = Interrupted(is_closed_then=True)
    assert not prover.lease.prove()
    assert len(prover.asked) == 2
    assert not prover.lease.is_over
