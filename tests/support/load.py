"""Clients that create, renew and release without a pause, and a book of what they were told.

A call whose outcome is open is repeated with the same request_id until it is answered, so that
in the end every request has one answer and the book can be held against the broker.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

import grpc
import grpc.aio

from computepool.v1 import allocation_pb2
from support.caller import ACTIVE, ENDED, LIVE, RELEASING, Caller, reason_of, spec
from support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from computepool.v1 import types_pb2

# Nothing was decided, or nobody knows what: repeat, with the same request_id.
OPEN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
_PAUSE_S = 0.03
_MOST_HELD = 5
_T = TypeVar("_T")


@dataclass
class Book:
    """What the clients were told.

    Attributes:
        granted: Allocation by request_id, acknowledged at the load's level.
        refused: Requests answered with "no room".
        released: Allocations whose release was answered.
        repeated: Requests whose first answer was lost and that were repeated.
        open: How often an answer failed to come, by the status.
        wrong: Answers that contradict earlier ones.
    """

    granted: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)
    open: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    answers: int = 0


class Load:
    """Several clients, each on its own connection; use it in an `async with` statement."""

    def __init__(
        self,
        target: str,
        seed: str,
        clients: int = 4,
        *,
        may_end: bool = False,
        level: allocation_pb2.AckLevel = allocation_pb2.ACK_LEVEL_DURABLE,
    ) -> None:
        self.book = Book()
        self._level = level
        self._target = target
        self._seed = seed
        self._clients = clients
        self._may_end = may_end
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client(n)) for n in range(self._clients)]
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            for task in self._tasks:
                task.cancel()
        await self.finish()

    async def finish(self, within_s: float = 60.0) -> None:
        """Begin nothing new, and wait until every call has its answer."""
        self._stopping = True
        done, late = await asyncio.wait(self._tasks, timeout=within_s)
        assert not late, f"calls still without an answer after {within_s:g} s"
        for task in done:
            if not task.cancelled():
                task.result()

    async def progress(self, grants: int = 1, answers: int = 1, within_s: float = 30.0) -> None:
        """Wait for so many more grants and so many more answers."""
        want = len(self.book.granted) + grants, self.book.answers + answers

        async def made() -> bool:
            for task in self._tasks:
                assert not task.done() or not task.exception(), task.exception()
            return len(self.book.granted) >= want[0] and self.book.answers >= want[1]

        what = f"{grants} more grants and {answers} more answers ({self.book.open})"
        await eventually(made, what, within_s, 0.005)

    async def _client(self, number: int) -> None:
        rng = random.Random(f"{self._seed}:client:{number}")
        mine: list[str] = []
        made = 0
        async with Caller(self._target) as caller:
            while not self._stopping:
                roll = rng.random()
                if not mine or (roll < 0.45 and len(mine) < _MOST_HELD):
                    made += 1
                    await self._create(caller, f"{self._seed}-{number}-{made}", mine, rng)
                elif roll < 0.65:
                    await self._renew(caller, rng.choice(mine))
                else:
                    await self._release(caller, mine.pop(rng.randrange(len(mine))))

    async def _create(
        self, caller: Caller, request_id: str, mine: list[str], rng: random.Random
    ) -> None:
        what = spec(rng.choice((0, 1, 1, 2, 4)), count=rng.choice((1, 1, 1, 2, 3)))
        wait_for = rng.choice((allocation_pb2.WAIT_FOR_RESERVED, allocation_pb2.WAIT_FOR_ACTIVE))
        try:
            answer = await self._until_answered(
                lambda: caller.create(what, request_id, wait_for), request_id
            )
        except grpc.aio.AioRpcError as error:
            if reason_of(error) != "NO_ROOM":
                raise
            self.book.refused.add(request_id)
            return
        self._note_grant(request_id, what, answer)
        mine.append(answer.allocation.id)

    def _note_grant(
        self,
        request_id: str,
        what: types_pb2.AllocationSpec,
        answer: allocation_pb2.CreateAllocationResponse,
    ) -> None:
        allocation = answer.allocation
        if answer.ack_level != self._level:
            self.book.wrong.append(f"{request_id}: acknowledged as {answer.ack_level}")
        if allocation.request_id != request_id or len(allocation.leases) != what.count:
            self.book.wrong.append(f"{request_id}: answered with {allocation}")
        if allocation.state not in LIVE and not self._may_end:
            self.book.wrong.append(f"{request_id}: granted as ended: {allocation}")
        self.book.granted[request_id] = allocation.id

    async def _renew(self, caller: Caller, allocation_id: str) -> None:
        try:
            await self._until_answered(lambda: caller.renew(allocation_id))
        except grpc.aio.AioRpcError as error:
            if reason_of(error) != "LEASE_ENDED" or not self._may_end:
                self.book.wrong.append(f"renew {allocation_id}: {reason_of(error)}")

    async def _release(self, caller: Caller, allocation_id: str) -> None:
        allocation = await self._until_answered(lambda: caller.release(allocation_id))
        if allocation.state not in (RELEASING, ENDED):
            self.book.wrong.append(f"release {allocation_id}: {allocation}")
        self.book.released.add(allocation_id)

    async def _until_answered(self, call: Callable[[], Awaitable[_T]], request_id: str = "") -> _T:
        while True:
            try:
                answer = await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in OPEN:
                    self.book.answers += 1
                    raise
                self.book.open[reason_of(error)] += 1
                self.book.repeated.add(request_id)
                await asyncio.sleep(_PAUSE_S)
            else:
                self.book.answers += 1
                return answer


async def check_book(caller: Caller, book: Book, *, may_end: bool = False) -> None:
    """Hold the book against the broker: nothing lost, nothing twice, nothing granted twice.

    With `may_end` allocations may have ended otherwise than by release, each with a reason.
    """
    assert not book.wrong, book.wrong
    known = await caller.all()
    by_id = {allocation.id: allocation for allocation in known}
    by_request = Counter(a.request_id for a in known if a.request_id)
    assert {r: n for r, n in by_request.items() if n > 1} == {}
    assert book.granted.items() <= {a.request_id: a.id for a in known}.items()
    assert book.refused.isdisjoint(by_request)
    released_by = allocation_pb2.END_REASON_RELEASED
    for allocation_id in book.granted.values():
        allocation = by_id[allocation_id]
        if allocation.state in LIVE:
            assert allocation_id not in book.released, allocation
        else:
            assert allocation.end_reason != allocation_pb2.END_REASON_UNSPECIFIED
            assert may_end or allocation.end_reason == released_by, allocation
            assert may_end or allocation_id in book.released, allocation
    check_devices(known)


def check_devices(known: list[allocation_pb2.Allocation]) -> None:
    """No device is given out more than once."""
    given: Counter[tuple[str, str]] = Counter()
    for allocation in known:
        if allocation.state in LIVE:
            for lease in allocation.leases:
                given.update({(lease.node, d.device_id): d.milli for d in lease.devices})
    assert {device: milli for device, milli in given.items() if milli > 1_000} == {}


async def same_again(caller: Caller, book: Book, most: int = 50) -> None:
    """A request that is repeated when all is over still names its first allocation."""
    known = {a.id: a for a in await caller.all()}
    for request_id, allocation_id in list(book.granted.items())[-most:]:
        what = known[allocation_id].spec
        again = await caller.create(what, request_id, allocation_pb2.WAIT_FOR_RESERVED)
        assert (again.allocation.id, again.duplicate) == (allocation_id, True)


async def settled(caller: Caller, within_s: float = 20.0) -> None:
    """Wait until every live allocation is ACTIVE and every ended one is wholly back."""

    async def so() -> bool:
        return {a.state for a in await caller.all()} <= {ACTIVE, ENDED}

    await eventually(so, "every allocation ACTIVE or ENDED", within_s)


async def all_comes_back(caller: Caller, devices: int, within_s: float = 20.0) -> None:
    """Release everything; then nothing is granted, and all devices are free."""
    for allocation in await caller.all(ended=False):
        await caller.release(allocation.id)

    missing = ["not looked yet"]

    async def nothing_is_missing() -> bool:
        missing[:] = await _not_back(caller, devices)
        return not missing

    try:
        await eventually(nothing_is_missing, "all capacity is back", within_s)
    except AssertionError as error:
        error.add_note("\n".join(missing))
        raise


async def _not_back(caller: Caller, devices: int) -> list[str]:
    view = await caller.view()
    nodes = await caller.nodes()
    free = sum(
        model.devices.schedulable
        for region in view.regions
        for center in region.centers
        for model in center.models
    )
    out = [f"{view.allocations} live allocations"] if view.allocations else []
    out += [f"{free} milli free, not {1_000 * devices}"] if free != 1_000 * devices else []
    for node in nodes.values():
        granted = [d.device.id for d in node.devices if d.granted_milli]
        if granted or node.granted.cpu_milli or node.granted.memory_mib or node.leases:
            out.append(f"{node.name} still has {granted} {node.granted} {node.leases} leases")
        if node.blockers:
            out.append(f"{node.name} is blocked: {node.blockers}")
    return out
