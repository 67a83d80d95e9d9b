"""Programs that use the SDK: blocks that must live through every fault on the devices they have."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from chaos.clients import TENANT
from computepool_client import AsyncPool, LeaseLostError, NoRoomError, PoolError

if TYPE_CHECKING:
    import random

    from chaos.clients import Gate
    from computepool_client.aio_lease import AsyncLease
    from support.history import History

TTL_S = 30
_LOOK_S = 0.1
_LEVELS = {"COMMITTED": 1, "DURABLE": 2, "CONFIRMED": 3}


class Blocks:
    """One program; it knows all brokers."""

    def __init__(self, name: str, targets: list[str], history: History, rng: random.Random) -> None:
        self.name = name
        self.bugs: list[str] = []
        self._targets = ",".join(targets)
        self._history = history
        self._rng = rng
        self._numbers = itertools.count(1)

    async def run(self, gate: Gate) -> None:
        """Work until cancelled."""
        async with AsyncPool(self._targets, timeout=60) as pool:
            while True:
                async with gate:
                    lease = await self._allocate(pool)
                if lease is not None:
                    await self._block(lease, gate)

    async def _allocate(self, pool: AsyncPool) -> AsyncLease | None:
        request_id = f"{self.name}-{next(self._numbers)}"
        call = f"{self.name}/{next(self._numbers)}"
        asked = {"request_id": request_id, "tenant": TENANT, "level": 2, "ttl_s": TTL_S}
        self._history.note("call", call=call, op="create", **asked)
        try:
            lease = await pool.allocate(
                gpus=self._rng.choice((1, 2)),
                ttl=TTL_S,
                tenant=TENANT,
                request_id=request_id,
                ack="durable",
            )
        except PoolError as error:
            refused = isinstance(error, NoRoomError)
            outcome = "refused" if refused else "unknown"
            self._history.note("answer", call=call, outcome=outcome, reason=error.reason)
            if not refused:
                self.bugs.append(f"{self.name}: allocate: {error!r}")
            return None
        devices = [[part.node, d.id, d.milli] for part in lease.parts for d in part.devices]
        level = _LEVELS.get(lease.ack.name, 0)
        self._history.note(
            "answer",
            call=call,
            outcome="ok",
            allocation=lease.id,
            state=lease.state.name,
            level=level,
            devices=devices,
        )
        return lease

    async def _block(self, lease: AsyncLease, gate: Gate) -> None:
        looks = self._rng.randint(5, 60)
        async with AsyncExitStack() as stack:
            try:
                async with lease:
                    for _ in range(looks):
                        await asyncio.sleep(_LOOK_S)
                        lease.check()
                    await stack.enter_async_context(gate)
                    call = self._note_call("release", lease)
                # The SDK does not say whether the release was answered; it ends with its time.
                self._history.note("answer", call=call, outcome="unknown")
            except LeaseLostError as error:
                call = self._note_call("block", lease)
                self._history.note("answer", call=call, outcome="lost", reason=error.reason)

    def _note_call(self, op: str, lease: AsyncLease) -> str:
        call = f"{self.name}/{next(self._numbers)}"
        self._history.note("call", call=call, op=op, allocation=lease.id)
        return call
