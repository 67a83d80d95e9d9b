"""What clients of a soak do and are told, call by call, each repeated until it is answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import types_pb2 as types
from support.caller import ENDED, LIVE, RELEASING, reason_of, spec
from support.load import OPEN, Book

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from support.caller import Caller

T = TypeVar("T")
CALL_S = 10.0
PAUSE_S = 0.03


def any_spec(rng: random.Random) -> types.AllocationSpec:
    """One of the ways to ask that there are."""
    kind = rng.randrange(8)
    if kind == 0:
        part = types.PartSpec(device_milli=rng.choice((100, 250, 333, 700)))
        return types.AllocationSpec(part=part, count=rng.choice((1, 2)), ttl_s=600)
    if kind == 1:
        what = spec(1, count=rng.choice((2, 3)))
        over = rng.choice((types.SPREAD_OVER_NODES, types.SPREAD_OVER_CENTERS))
        what.spread.CopyFrom(types.Spread(over=over, max_skew=1))
        return what
    if kind == 2:
        gflops = rng.choice((500_000, 1_500_000, 3_000_000))
        return types.AllocationSpec(power=types.Power(gflops=gflops), ttl_s=600)
    return spec(rng.choice((0, 1, 1, 2, 4)), count=rng.choice((1, 1, 1, 2, 3)))


class Calls:
    """The calls, and the book of what was told.

    Attributes:
        book: What clients were told; `wrong` is what must not be.
        done: How often each kind of client has come to its end.
    """

    def __init__(self, caller: Caller, seed: str) -> None:
        self.caller = caller
        self.book = Book()
        self.done: Counter[str] = Counter()
        self._seed = seed
        self._made = 0

    async def until(
        self,
        call: Callable[[], Awaitable[T]],
        between: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Repeat a call until it is answered; look at something before each repetition."""
        while True:
            try:
                answer = await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in OPEN:
                    raise
                self.book.open[reason_of(error)] += 1
                await asyncio.sleep(PAUSE_S)
                if between is not None:
                    await between()
            else:
                self.book.answers += 1
                return answer

    def create(self, rng: random.Random, kind: str) -> wire.CreateAllocationRequest:
        self._made += 1
        return wire.CreateAllocationRequest(
            request_id=f"{self._seed}-{kind}-{self._made}",
            tenant=rng.choice(("default", "a", "b")),
            spec=any_spec(rng),
            labels={"kind": kind},
        )

    async def create_one(self, request: wire.CreateAllocationRequest) -> str:
        try:
            answer = await self.until(
                lambda: self.caller.allocations.CreateAllocation(request, timeout=CALL_S)
            )
        except grpc.aio.AioRpcError as error:
            known = reason_of(error) == "NO_ROOM"
            self.expect(known, f"{request.request_id}: {reason_of(error)} {error.details()}")
            self.book.refused.add(request.request_id)
            return ""
        self.note_grant(request, answer)
        return answer.allocation.id

    async def streamed(
        self, calls: dict[int, wire.StreamAllocationsRequest]
    ) -> dict[int, wire.StreamResult]:
        """Answers by ticket; what has none when the stream breaks is sent again."""
        out: dict[int, wire.StreamResult] = {}
        while len(out) < len(calls):
            left = [call for ticket, call in calls.items() if ticket not in out]
            try:
                stream: Any = self.caller.allocations.StreamAllocations(iter(left), timeout=20)
                async for message in stream:
                    for result in message.results:
                        self.expect(result.ticket not in out, "a ticket was answered twice")
                        if self._decided(calls[result.ticket], result):
                            out[result.ticket] = result
            except grpc.aio.AioRpcError as error:
                # gRPC's own client says so when the connection breaks while it sends.
                broke = error.details() == "Internal error from Core"
                self.expect(error.code() in OPEN or broke, f"stream: {reason_of(error)}")
                self.book.open[reason_of(error)] += 1
            await asyncio.sleep(PAUSE_S)
        return out

    def _decided(self, call: wire.StreamAllocationsRequest, result: wire.StreamResult) -> bool:
        kind = result.WhichOneof("result")
        if kind == "error":
            code = grpc_code(result.error.code)
            if code in OPEN:
                return False
            reason = result.error.reason
            if call.HasField("create") and reason == "NO_ROOM":
                self.book.refused.add(call.create.request_id)
            else:
                ended = call.HasField("renew") and reason == "LEASE_ENDED"
                self.expect(ended, f"stream {call}: {reason} {result.error.message}")
        elif kind == "create":
            self.note_grant(call.create, result.create)
        self.book.answers += 1
        return True

    async def renew_and_release(self, made: list[str], rng: random.Random) -> None:
        allocations = self.caller.allocations
        renew = wire.BatchRenewAllocationsRequest(ids=made)
        if not made:
            return
        answer = await self.until(lambda: allocations.BatchRenewAllocations(renew, timeout=CALL_S))
        for failure in answer.failures:
            ended = await self.until(partial(self.caller.get, failure.id))
            fine = ended.state not in LIVE and ended.end_reason == wire.END_REASON_FAILED
            self.expect(fine, f"renew {failure}: {ended}")
        await asyncio.sleep(rng.uniform(0, 0.5))
        release = wire.BatchReleaseAllocationsRequest(ids=made)
        while True:
            done = await self.until(
                lambda: allocations.BatchReleaseAllocations(release, timeout=CALL_S)
            )
            codes = {grpc_code(f.error.code) for f in done.failures}
            self.expect(codes <= set(OPEN), f"release: {done}")
            if not codes:
                break
            await asyncio.sleep(PAUSE_S)
        self.book.released.update(made)

    async def whole(self, name: str, size: int) -> None:
        """An atomic batch is there whole or not at all, whatever became of its call."""
        request = wire.ListAllocationsRequest(
            page_size=100, filter=f'labels.batch = "{name}"', include_ended=True
        )
        try:
            page = await self.caller.allocations.ListAllocations(request, timeout=CALL_S)
        except grpc.aio.AioRpcError:
            return
        self.done["wholes"] += 1
        there = len(page.allocations)
        self.expect(there in (0, size), f"{there} of {size} of the atomic batch {name} are there")

    async def look_at_nodes(self) -> None:
        for node in (await self.until(self.caller.nodes)).values():
            for device in node.devices:
                fits = device.granted_milli <= 1_000
                self.expect(fits, f"{node.name}: {device.device.id} has {device.granted_milli}")
            fits = node.granted.cpu_milli <= node.total.cpu_milli
            self.expect(fits, f"{node.name}: {node.granted}")

    def note_grant(
        self, request: wire.CreateAllocationRequest, answer: wire.CreateAllocationResponse
    ) -> None:
        allocation, name = answer.allocation, request.request_id
        self.expect(answer.ack_level == wire.ACK_LEVEL_DURABLE, f"{name}: {answer.ack_level}")
        self.expect(allocation.request_id == name, f"{name}: answered with {allocation}")
        before = self.book.granted.setdefault(name, allocation.id)
        self.expect(before == allocation.id, f"{name}: {before}, and now {allocation.id}")

    def note_release(self, key: str, allocation: wire.Allocation) -> None:
        self.expect(allocation.id == key, f"release of {key}: {allocation}")
        self.expect(allocation.state in (RELEASING, ENDED), f"release of {key}: {allocation}")
        self.book.released.add(key)

    def expect(self, so: bool, what: str) -> None:
        if not so:
            self.book.wrong.append(what)


def grpc_code(number: int) -> grpc.StatusCode:
    """A status code by its number."""
    return next(code for code in grpc.StatusCode if code.value[0] == number)
