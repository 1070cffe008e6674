"""The faults of a simulated server, for the program that runs it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from bridge.simulator.faults.injector import FaultInjector
from bridge.simulator.faults.kinds import Fault
from bridge.simulator.faults.registry import FaultRecord, FaultRegistry
from bridge.simulator.faults.requests import FaultRequest


class ServerFaults:
    """Injects faults and ends them. Any thread but the server's may call all methods."""

    def __init__(
        self, injector: FaultInjector, registry: FaultRegistry, run: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        """``run`` runs a coroutine on the server's thread and returns its result."""
        self._injector = injector
        self._registry = registry
        self._run = run

    def inject(self, fault: Fault, **scope: Any) -> FaultRecord:  # noqa: ANN401 - the fields of FaultRequest
        """Inject a fault; ``session``, ``times``, ``seconds`` and ``streams`` as in ``FaultRequest``.

        UnknownSession (a KeyError) for an unknown session, ValueError for a fault that is not possible.
        """
        record: FaultRecord = self._run(self._injector.inject(FaultRequest(fault, **scope)))
        return record

    def clear(self, number: int | None = None) -> int:
        """End one lasting fault, or all. Return how many ended."""

        async def clear() -> int:
            return self._registry.clear(number)

        ended: int = self._run(clear())
        return ended

    def close(self) -> None:
        """Stop the schedule and end all faults."""
        self._run(self._injector.close())

    def records(self) -> list[FaultRecord]:
        """Return all faults, oldest first."""

        async def records() -> list[FaultRecord]:
            return self._registry.records()

        found: list[FaultRecord] = self._run(records())
        return found
