"""Asks every broker for all that it has, and hands it to the judge."""

import asyncio
import time
from collections.abc import Collection
from typing import Final

from computepool.v1 import allocation_pb2, inventory_pb2, types_pb2
from computepool_client import errors, methods
from computepool_client.aio_transport import AsyncTransport
from computepool_client.cli.up_ha.judge import Fate, Judge, Listed, Look

_PAGE: Final = 1_000
_CALL_S: Final = 2.0
# So many that no list has are looked up in one round; the rest in the next.
_ASKED_AT_ONCE: Final = 100
_LIVE_STATES: Final = (
    allocation_pb2.ALLOCATION_STATE_RESERVED,
    allocation_pb2.ALLOCATION_STATE_ACTIVE,
)
_ON_ITS_DEVICES: Final = (
    types_pb2.LEASE_STATE_PENDING,
    types_pb2.LEASE_STATE_ADMITTED,
    types_pb2.LEASE_STATE_STARTED,
    types_pb2.LEASE_STATE_RELEASING,
)


class Looker:
    """Looks at the pool through each broker by itself.

    Attributes:
        judged_s: when the last look was judged; None before the first.
        chores: address of the broker that does the chores; empty when nobody says so.
    """

    def __init__(self, endpoints: list[str], judge: Judge) -> None:
        self.judged_s: float | None = None
        self.chores = ""
        self._judge = judge
        self._transports = [AsyncTransport(endpoint) for endpoint in endpoints]
        self._names_brokers = True

    async def close(self) -> None:
        """Ends the connections."""
        for transport in self._transports:
            await transport.close()

    async def round(self, away: set[str], ask: Collection[str]) -> list[Look]:
        """One look through brokers, judged; gives those that are current.

        `away` are the centers whose agents cannot answer now; `ask` are the endpoints
        of the brokers that could: nobody waits for one that is stopped.
        """
        asked = [each for each in self._transports if each.endpoint in ask]
        found = await asyncio.gather(*(self._look(each) for each in asked))
        looks = {
            transport: look
            for transport, look in zip(asked, found, strict=True)
            if look is not None
        }
        if not looks:
            self.chores = ""
            return []
        suspects = self._judge.looked(looks.values(), time.monotonic())
        for id_ in suspects[:_ASKED_AT_ONCE]:
            fates = [await self._fate(transport, id_) for transport in looks]
            told = [fate for fate in fates if fate is not None]
            if len(told) == len(fates):
                self._judge.asked(id_, told, time.monotonic(), away)
        current = self._judge.current(looks.values())
        for transport, look in looks.items():
            if look not in current:
                continue
            for device, ids in self._judge.granted_twice(look).items():
                fates = [await self._fate(transport, id_) for id_ in ids]
                self._judge.confirmed(device, [fate for fate in fates if fate is not None])
        self.judged_s = time.monotonic()
        return current

    async def find_chores(self, ask: Collection[str]) -> None:
        """Asks who does the chores; `ask` as for `round`."""
        if not self._names_brokers:
            return
        for transport in self._transports:
            if transport.endpoint not in ask:
                continue
            try:
                answer = await transport.call(_BROKERS, inventory_pb2.ListBrokersRequest(), _CALL_S)
            except errors.PoolError as error:
                self._names_brokers = error.reason != "UNIMPLEMENTED"
                continue
            self.chores = next((each.address for each in answer.brokers if each.chores), "")
            return
        self.chores = ""

    async def _look(self, transport: AsyncTransport) -> Look | None:
        """All that one broker lists, then its mark: a list is never newer than it."""
        began_s = time.monotonic()
        listed: dict[str, Listed] = {}
        request = allocation_pb2.ListAllocationsRequest(page_size=_PAGE)
        try:
            while True:
                page = await transport.call(methods.LIST, request, _CALL_S)
                listed.update((each.id, _listed(each)) for each in page.allocations)
                request.page_token = page.next_page_token
                if not request.page_token:
                    break
            view = await transport.call(methods.VIEW, inventory_pb2.GetViewRequest(), _CALL_S)
        except errors.PoolError:
            return None
        return Look(
            broker=transport.endpoint,
            began_s=began_s,
            listed=listed,
            identity=view.mark.identity,
            epoch=view.mark.epoch,
            warming_up=view.state == inventory_pb2.POOL_STATE_WARMING_UP,
        )

    async def _fate(self, transport: AsyncTransport, id_: str) -> Fate | None:
        """What one broker knows of one allocation; None when it does not answer."""
        request = allocation_pb2.GetAllocationRequest(id=id_)
        try:
            found = (await transport.call(methods.GET, request, _CALL_S)).allocation
        except errors.NotFoundError:
            return Fate(None)
        except errors.PoolError:
            return None
        listed = _listed(found)
        ended = allocation_pb2.EndReason.Name(found.end_reason).removeprefix("END_REASON_")
        return Fate(listed, "" if listed.live else ended)


def _listed(allocation: allocation_pb2.Allocation) -> Listed:
    devices = [
        (device.device_id, device.milli)
        for lease in allocation.leases
        if lease.state in _ON_ITS_DEVICES
        for device in lease.devices
    ]
    return Listed(
        id=allocation.id,
        tenant=allocation.tenant,
        request_id=allocation.request_id,
        live=allocation.state in _LIVE_STATES,
        devices=tuple(devices),
    )


_BROKERS: Final = methods.Method(
    "/computepool.v1.InventoryService/ListBrokers",
    inventory_pb2.ListBrokersRequest.SerializeToString,
    inventory_pb2.ListBrokersResponse.FromString,
)
