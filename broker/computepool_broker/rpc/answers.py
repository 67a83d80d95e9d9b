"""Allocations as answers: the one place that knows what goes with a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.rpc import to_wire
from computepool_broker.rpc.errors import call_error
from computepool_broker.services.levels import Level

if TYPE_CHECKING:
    from computepool_broker.model.records import Allocation
    from computepool_broker.services.grants import Granted
    from computepool_broker.services.levels import Levels
    from computepool_broker.services.pool import Pool


LEVELS = {
    Level.COMMITTED: wire.ACK_LEVEL_COMMITTED,
    Level.DURABLE: wire.ACK_LEVEL_DURABLE,
    Level.CONFIRMED: wire.ACK_LEVEL_CONFIRMED,
}


class Answers:
    """Fills messages in place: building them first and copying takes twice as long."""

    def __init__(self, pool: Pool, writer: to_wire.SpecWriter, levels: Levels) -> None:
        """Wire it.

        Args:
            pool: For reading.
            writer: Specs to the wire.
            levels: Which level of acknowledgement a call has, and its answer names.
        """
        self._pool = pool
        self._writer = writer
        self.levels = levels

    def fill(self, out: wire.Allocation, a: Allocation) -> None:
        """Write an allocation as it now is."""
        pool = self._pool
        left = pool.ttl.left_ms(a.id, pool.clock.now_ms)
        to_wire.fill_allocation(out, pool.state, a, left, self._writer)

    def error(self, error: BaseException) -> wire.CallError:
        """The error of one call among several, which is counted as that of a call alone is."""
        made = call_error(error)
        self._pool.tally.errors.add(made.reason)
        return made

    def fill_created(self, out: wire.CreateAllocationResponse, made: Granted, level: Level) -> None:
        """Write the answer to one create that was made at a level."""
        out.ack_level = LEVELS[self.levels.told(level, made.allocation)]
        if made.duplicate:
            out.duplicate = True
        self.fill(out.allocation, made.allocation)
