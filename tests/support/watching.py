"""Whoever watches a broker without its wire: reads messages, and folds what they tell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2 as inventory

if TYPE_CHECKING:
    from support.broker_kit import BrokerKit

WITHIN_S = 20.0
EXISTING = wire.ALLOCATION_EVENT_KIND_EXISTING
CHANGED = wire.ALLOCATION_EVENT_KIND_CHANGED


class AllocationFollower:
    """Follows a broker's allocations, also through its restarts.

    Attributes:
        known: The newest that was told of each allocation.
        token: Of the last message.
        revision: Of the last message.
        synced: Of the last message.
        messages: All of the present watch.
    """

    def __init__(self, **request: Any) -> None:
        self._request = request
        self._stream: Any = None
        self.known: dict[str, wire.Allocation] = {}
        self.token = ""
        self.revision = 0
        self.synced = False
        self.messages: list[wire.WatchAllocationsResponse] = []

    def watch(self, kit: BrokerKit) -> Self:
        """Begin, or go on where the last message left off."""
        request = wire.WatchAllocationsRequest(resume_token=self.token, **self._request)
        if not self.token:
            self.known.clear()
        self.messages.clear()
        self.synced = False
        self._stream = kit.watches.allocations(request)
        return self

    async def read(self) -> wire.WatchAllocationsResponse:
        """The next message."""
        async with asyncio.timeout(WITHIN_S):
            message = wire.WatchAllocationsResponse.FromString(await anext(self._stream))
        self.messages.append(message)
        assert message.revision >= (self.revision if self.token else 0)
        assert message.synced or not self.synced
        order = [e.allocation.revision for e in message.events]
        assert order == sorted(order)
        for event in message.events:
            self._fold(event)
        self.token, self.revision = message.resume_token, message.revision
        self.synced = message.synced
        return message

    def _fold(self, event: wire.AllocationEvent) -> None:
        new = event.allocation
        old = self.known.get(new.id)
        assert old is None or old.revision <= new.revision, "it went back in time"
        self.known[new.id] = new

    async def read_to(self, revision: int) -> Self:
        """Read until all up to a revision has been told."""
        while not (self.synced and self.revision >= revision):
            await self.read()
        return self

    async def stop(self) -> None:
        """Watch no more."""
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None


class ViewFollower:
    """Follows a broker's view.

    Attributes:
        centers: The newest that was told of each.
        message: The last.
    """

    def __init__(self, kit: BrokerKit, token: str = "", **request: Any) -> None:
        fields = {"least_interval_ms": 200} | request
        self._stream: Any = kit.watches.view(
            inventory.WatchViewRequest(resume_token=token, **fields)
        )
        self.centers: dict[str, inventory.CenterView] = {}
        self.message = inventory.WatchViewResponse()

    async def read(self) -> list[str]:
        """Take the next message; gives the centers that it tells of."""
        async with asyncio.timeout(WITHIN_S):
            self.message = inventory.WatchViewResponse.FromString(await anext(self._stream))
        told = [c for region in self.message.view.regions for c in region.centers]
        if self.message.whole:
            self.centers.clear()
        self.centers |= {c.center: c for c in told}
        for name in self.message.centers_gone:
            self.centers.pop(name, None)
        return [c.center for c in told]

    async def stop(self) -> None:
        """Watch no more."""
        await self._stream.aclose()


def last_change(kit: BrokerKit) -> int:
    """The highest revision of all allocations, those that are forgotten included."""
    state = kit.pool.state
    return max(state.forgotten_through, *(a.revision for a in state.allocations.values()), 0)


def missing(follower: AllocationFollower, kit: BrokerKit) -> list[str]:
    """What a follower that was told of everything has not, or otherwise than the ledger."""
    records = kit.pool.state.allocations
    wrong = []
    for key, record in records.items():
        known = follower.known.get(key)
        want = (record.revision, int(record.state), [int(p.state) for p in record.parts])
        have = known and (known.revision, known.state, [lease.state for lease in known.leases])
        if have != want:
            wrong.append(f"{key}: {have} instead of {want}")
    for key, known in follower.known.items():
        if key not in records and known.state != wire.ALLOCATION_STATE_ENDED:
            wrong.append(f"{key} is gone, and was told as {known.state}")
    return wrong
