"""All streams that follow something: one bound for the watches, one for the drains, one end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.rpc.drain import drain
from computepool_broker.rpc.watch import AllocationWatches
from computepool_broker.rpc.watch_view import ViewWatches
from computepool_broker.services.drain import Drains
from computepool_broker.services.watches import MAX_DRAINS, MAX_WATCHES, Watches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from computepool.v1 import allocation_pb2, inventory_pb2
    from computepool_broker.rpc.answers import Answers
    from computepool_broker.services.inventory import InventoryService
    from computepool_broker.services.pool import Pool


class WatchCalls:
    """The calls of both services that go on until their client goes."""

    def __init__(
        self,
        pool: Pool,
        answers: Answers,
        inventory: InventoryService,
        life: bytes,
        clock_s: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """Wire it.

        Args:
            pool: What is watched.
            answers: Fills allocations.
            inventory: Cordons.
            life: Random name of this life of the broker, 8 bytes.
            clock_s: A clock that never goes back, in seconds.
            chance: From 0 to 1; spreads watchers over their interval.
        """
        self.open = Watches("watches", MAX_WATCHES)
        self.draining = Watches("drains", MAX_DRAINS)
        self._allocations = AllocationWatches(pool, answers, self.open, life)
        self._view = ViewWatches(pool, self.open, life, clock_s, chance)
        self._drains = Drains(pool, inventory, self.draining)

    def allocations(self, request: allocation_pb2.WatchAllocationsRequest) -> AsyncIterator[bytes]:
        """Serialised WatchAllocationsResponses."""
        return self._allocations.watch(request)

    def view(self, request: inventory_pb2.WatchViewRequest) -> AsyncIterator[bytes]:
        """Serialised WatchViewResponses."""
        return self._view.watch(request)

    def drain(
        self, request: inventory_pb2.DrainRequest
    ) -> AsyncIterator[inventory_pb2.DrainResponse]:
        """See the contract."""
        return drain(self._drains, request)

    def hang_up(self) -> None:
        """End all of them, now and from now on: nothing else would before their clients do."""
        self.open.hang_up()
        self.draining.hang_up()
