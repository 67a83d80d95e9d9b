"""Clients that use everything at once, for pools that are being killed meanwhile.

Each kind of client does one thing and returns; a `Soak` repeats them until it is told to pause.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2 as inventory
from computepool_client import AsyncPool, PoolError
from support.caller import Caller, reason_of, spec
from support.load import OPEN
from support.soak_calls import CALL_S, PAUSE_S, Calls
from support.soak_followers import Follower, ViewFollower

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BLOCK_TTL_S = 30
ANCHORS = 5


class Soak:
    """All clients of one pool; use it in an `async with` statement."""

    def __init__(self, target: str, seed: str) -> None:
        self.batches: dict[str, tuple[int, bool]] = {}
        self.anchors: list[str] = []
        self.followers = [Follower(), Follower('labels.kind = "batch"')]
        self.view = ViewFollower()
        self._target = target
        self._seed = seed
        self._working = asyncio.Event()
        self._busy = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self.caller = await Caller(self._target).__aenter__()
        self.calls = Calls(self.caller, self._seed)
        self.sdk = await AsyncPool(self._target, timeout=60).__aenter__()
        await self._anchor()
        kinds = [
            self.stream, self.stream, self.batch, self.batch, self.single, self.single,
            self.block, self.block, self.blocks, self.walk, self.operate,
        ]  # fmt: skip
        self._tasks = [asyncio.create_task(self._repeat(n, kind)) for n, kind in enumerate(kinds)]
        self._tasks += [asyncio.create_task(each.run(self.caller)) for each in self.followers]
        self._tasks.append(asyncio.create_task(self.view.run(self.caller)))
        self._working.set()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sdk.close()
        await self.caller.__aexit__()

    async def pause(self, within_s: float = 90.0) -> None:
        """Begin nothing new, and wait until every call has its answer."""
        self._working.clear()
        async with asyncio.timeout(within_s):
            while self._busy:
                self.check()
                await asyncio.sleep(0.05)
        self.check()

    def go_on(self) -> None:
        """Let the clients work again."""
        self._working.set()

    def check(self) -> None:
        """Fail when a client has met what must not be."""
        for task in self._tasks:
            if task.done():
                task.result()
        assert not self.calls.book.wrong, self.calls.book.wrong

    # -- kinds of clients ------------------------------------------------------------------

    async def stream(self, rng: random.Random) -> None:
        """Some creates over one stream, then renewals and releases of what they made."""
        calls: dict[int, wire.StreamAllocationsRequest] = {}
        for ticket in range(rng.randint(1, 12)):
            create = self.calls.create(rng, "stream")
            create.wait_for = rng.choice((wire.WAIT_FOR_RESERVED, wire.WAIT_FOR_ACTIVE))
            calls[ticket] = wire.StreamAllocationsRequest(ticket=ticket, create=create)
        made = [
            result.create.allocation.id
            for result in (await self.calls.streamed(calls)).values()
            if result.WhichOneof("result") == "create"
        ]
        again: dict[int, wire.StreamAllocationsRequest] = {}
        for at, key in enumerate(made):
            renew, release = (
                wire.RenewAllocationRequest(id=key),
                wire.ReleaseAllocationRequest(id=key),
            )
            again[2 * at] = wire.StreamAllocationsRequest(ticket=2 * at, renew=renew)
            again[2 * at + 1] = wire.StreamAllocationsRequest(ticket=2 * at + 1, release=release)
        for ticket, result in (await self.calls.streamed(again)).items():
            if ticket % 2:
                self.calls.note_release(made[ticket // 2], result.release.allocation)

    async def batch(self, rng: random.Random) -> None:
        """A batch, its renewal and its release."""
        atomic = rng.random() < 0.6
        requests = [self.calls.create(rng, "batch") for _ in range(rng.randint(1, 8))]
        name = requests[0].request_id
        for each in requests:
            each.labels["batch"] = name
        mode = wire.BATCH_MODE_ATOMIC if atomic else wire.BATCH_MODE_EACH
        wait = rng.choice((wire.WAIT_FOR_RESERVED, wire.WAIT_FOR_ACTIVE))
        request = wire.BatchCreateAllocationsRequest(requests=requests, mode=mode, wait_for=wait)
        if atomic:
            self.batches[name] = (len(requests), False)
        try:
            answer = await self.calls.until(
                lambda: self.caller.allocations.BatchCreateAllocations(request, timeout=CALL_S),
                between=partial(self.calls.whole, name, len(requests)) if atomic else None,
            )
        except grpc.aio.AioRpcError as error:
            self.calls.expect(reason_of(error) == "NO_ROOM", f"batch {name}: {reason_of(error)}")
            self.calls.book.refused.update(r.request_id for r in requests)
            return
        results, open_calls = answer.results, []
        for one, result in zip(requests, results, strict=True):
            if result.WhichOneof("result") == "created":
                self.calls.note_grant(one, result.created)
            elif result.error.reason == "NO_ROOM":
                self.calls.expect(not atomic, f"{name} is atomic, and {one.request_id} was refused")
                self.calls.book.refused.add(one.request_id)
            else:
                open_calls.append(one)
        for one in open_calls:
            await self.calls.create_one(one)
        if atomic:
            self.batches[name] = (len(requests), True)
        made = [
            self.calls.book.granted[r.request_id]
            for r in requests
            if r.request_id in self.calls.book.granted
        ]
        await self.calls.renew_and_release(made, rng)

    async def single(self, rng: random.Random) -> None:
        """Unary calls; sometimes cancelled in the midst, and asked again."""
        request = self.calls.create(rng, "single")
        if rng.random() < 0.2:
            call: Any = self.caller.allocations.CreateAllocation(request, timeout=CALL_S)
            await asyncio.sleep(rng.uniform(0, 0.01))
            call.cancel()
        key = await self.calls.create_one(request)
        if key:
            await asyncio.sleep(rng.uniform(0, 0.3))
            allocation = await self.calls.until(lambda: self.caller.release(key))
            self.calls.note_release(key, allocation)

    async def block(self, rng: random.Random) -> None:
        """A block of the SDK, that lives through whatever happens on the devices that it has."""
        try:
            lease = await self.sdk.allocate(
                gpus=rng.choice((1, 2)), count=rng.choice((1, 2)), ttl=BLOCK_TTL_S
            )
        except PoolError as error:
            self.calls.expect(error.reason == "NO_ROOM", f"block: {error!r}")
            return
        async with lease:
            places = [(part.node, part.devices) for part in lease.parts]
            for _ in range(rng.randint(1, 60)):
                await asyncio.sleep(0.2)
                lease.check()
                if not self._working.is_set():
                    break
            now = [(part.node, part.devices) for part in (await lease.refresh()).parts]
            self.calls.expect(now == places, f"{lease.id} moved from {places} to {now}")
        self.calls.done["blocks"] += 1

    async def blocks(self, rng: random.Random) -> None:
        """Several leases of one call of the SDK."""
        many: Any = [{"gpus": 1, "ttl": BLOCK_TTL_S}, {"cpu": 2, "ttl": BLOCK_TTL_S}] * 2
        try:
            async with self.sdk.allocate_many(many, atomic=rng.random() < 0.5) as leases:
                for _ in range(rng.randint(1, 20)):
                    await asyncio.sleep(0.2)
                    leases.check()
        except PoolError as error:
            self.calls.expect(error.reason == "NO_ROOM", f"blocks: {error!r}")

    async def walk(self, rng: random.Random) -> None:
        """All pages of a list while everything changes: what stays is there exactly once."""
        order = rng.choice(("", "id desc", "create_time", "tenant, create_time desc"))
        request = wire.ListAllocationsRequest(page_size=rng.choice((3, 7, 50)), order_by=order)
        ids: list[str] = []
        while True:
            page = await self.calls.until(
                lambda: self.caller.allocations.ListAllocations(request, timeout=CALL_S)
            )
            ids += [a.id for a in page.allocations]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        twice = [key for key, n in Counter(ids).items() if n > 1]
        self.calls.expect(not twice, f"listed twice by {order!r}: {twice}")
        for key in self.anchors:
            self.calls.expect(ids.count(key) == 1, f"{key} is not in the list by {order!r}")
        await self.calls.look_at_nodes()

    async def operate(self, rng: random.Random) -> None:
        """Cordons and drains of a node, taken back."""
        names = sorted(await self.calls.until(self.caller.nodes))
        node = rng.choice(names)
        if rng.random() < 0.5:
            call: Any = self.caller.inventory.Drain(inventory.DrainRequest(node=node), timeout=2)
            try:
                async for _ in call:
                    pass
            except grpc.aio.AioRpcError as error:
                self.calls.expect(error.code() in OPEN, f"drain: {reason_of(error)}")
        else:
            cordon = inventory.CordonRequest(node=node, message="soak")
            await self.calls.until(lambda: self.caller.inventory.Cordon(cordon, timeout=CALL_S))
            shown = (await self.calls.until(self.caller.nodes))[node]
            self.calls.expect(
                "CORDONED" in shown.blockers, f"{node} was cordoned: {shown.blockers}"
            )
        uncordon = inventory.UncordonRequest(node=node)
        await self.calls.until(lambda: self.caller.inventory.Uncordon(uncordon, timeout=CALL_S))
        shown = (await self.calls.until(self.caller.nodes))[node]
        self.calls.expect(
            "CORDONED" not in shown.blockers, f"{node} was uncordoned: {shown.blockers}"
        )
        await asyncio.sleep(rng.uniform(0.1, 0.5))

    async def _anchor(self) -> None:
        for n in range(ANCHORS):
            what = spec(0, cpu_milli=10, memory_mib=1, ttl_s=3_600)
            request_id = f"{self._seed}-anchor-{n}"
            answer = await self.calls.until(partial(self.caller.create, what, request_id))
            self.calls.book.granted[request_id] = answer.allocation.id
            self.anchors.append(answer.allocation.id)

    async def _repeat(self, number: int, kind: Callable[[random.Random], Awaitable[None]]) -> None:
        rng = random.Random(f"{self._seed}:{kind.__name__}:{number}")
        while True:
            await self._working.wait()
            self._busy += 1
            try:
                await kind(rng)
                self.calls.done[kind.__name__] += 1
            finally:
                self._busy -= 1
            await asyncio.sleep(PAUSE_S)
