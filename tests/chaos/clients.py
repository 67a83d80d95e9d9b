"""Clients that create, renew and release all the time, and write down every call and answer."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from computepool.v1 import allocation_pb2 as wire
from support.caller import Caller, reason_of, spec

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from support.history import History

CALL_S = 3.0
"""One attempt: then another broker is asked."""
TTL_S = 600
TENANT = "default"
_PAUSE_S = 0.05
_BETWEEN_S = 0.02
_MOST_HELD = 6
# Of gRPC itself or of ours: nobody knows what was done.
_OPEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)
_LEVELS = (wire.ACK_LEVEL_UNSPECIFIED, wire.ACK_LEVEL_DURABLE, wire.ACK_LEVEL_CONFIRMED)


class Gate:
    """Lets clients work, or waits until none of them does."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        while not self._open.is_set():  # it may be shut again before those who wait are woken
            await self._open.wait()
        self._busy += 1
        self._idle.clear()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def shut(self, within_s: float) -> None:
        """Let nobody begin anything, and wait until all that was begun has its answer."""
        self._open.clear()
        async with asyncio.timeout(within_s):
            await self._idle.wait()

    def open(self) -> None:
        """Let them work."""
        self._open.set()


class Client:
    """One client with a connection to each broker; when one fails it asks the next."""

    def __init__(self, name: str, targets: list[str], history: History, rng: random.Random) -> None:
        self.name = name
        self.bugs: list[str] = []
        self._callers = [Caller(target) for target in targets]
        self._present = rng.randrange(len(targets))
        self._history = history
        self._rng = rng
        self._numbers = itertools.count(1)
        self._mine: list[str] = []

    async def run(self, gate: Gate) -> None:
        """Work until cancelled."""
        try:
            while True:
                async with gate:
                    await self._step()
                await asyncio.sleep(self._rng.uniform(0, 2 * _BETWEEN_S))
        finally:
            for caller in self._callers:
                await caller.__aexit__()

    async def _step(self) -> None:
        roll = self._rng.random()
        if not self._mine or (roll < 0.45 and len(self._mine) < _MOST_HELD):
            await self._create()
        elif roll < 0.65:
            await self._renew(self._rng.choice(self._mine))
        else:
            await self._release(self._mine.pop(self._rng.randrange(len(self._mine))))

    async def _create(self) -> None:
        level = self._rng.choice(_LEVELS)
        waits = (wire.WAIT_FOR_RESERVED, wire.WAIT_FOR_ACTIVE)
        request = wire.CreateAllocationRequest(
            request_id=f"{self.name}-{next(self._numbers)}",
            spec=spec(
                self._rng.choice((0, 1, 1, 2, 4)),
                count=self._rng.choice((1, 1, 1, 2, 3)),
                ttl_s=TTL_S,
            ),
            ack_level=level,
            wait_for=waits[1] if level == wire.ACK_LEVEL_CONFIRMED else self._rng.choice(waits),
            wait_ms=2_000,
        )
        answer = await self._until_answered(
            "create",
            lambda caller: caller.allocations.CreateAllocation(request, timeout=CALL_S),
            grant_of,
            request_id=request.request_id,
            tenant=TENANT,
            level=int(level),
            ttl_s=TTL_S,
        )
        if answer is not None and answer.allocation.state <= wire.ALLOCATION_STATE_ACTIVE:
            self._mine.append(answer.allocation.id)

    async def _renew(self, name: str) -> None:
        call = partial(Caller.renew, allocation_id=name)
        if await self._until_answered("renew", call, plain, allocation=name) is None:
            self._mine.remove(name)  # what became of it is seen in the list of all

    async def _release(self, name: str) -> None:
        request = wire.ReleaseAllocationRequest(id=name, ack_level=wire.ACK_LEVEL_DURABLE)

        def call(caller: Caller) -> Awaitable[Any]:
            return caller.allocations.ReleaseAllocation(request, timeout=CALL_S)

        await self._until_answered("release", call, plain, allocation=name)

    async def _until_answered(
        self,
        op: str,
        call: Callable[[Caller], Awaitable[Any]],
        told: Callable[[Any], dict[str, Any]],
        **asked: Any,
    ) -> Any:
        """Repeat a call, at one broker after the other; gives None when it is refused."""
        while True:
            number = f"{self.name}/{next(self._numbers)}"
            self._history.note("call", call=number, op=op, **asked)
            try:
                answer = await call(self._callers[self._present])
            except grpc.aio.AioRpcError as error:
                reason = reason_of(error)
                is_open = error.code() in _OPEN or not is_ours(error)
                outcome = "unknown" if is_open else "refused"
                self._history.note("answer", call=number, outcome=outcome, reason=reason)
                if not is_open:
                    self._look_at(op, reason, error)
                    return None
                self._present = (self._present + 1) % len(self._callers)
                await asyncio.sleep(_PAUSE_S)
            else:
                self._history.note("answer", call=number, outcome="ok", **told(answer))
                return answer

    def _look_at(self, op: str, reason: str, error: grpc.aio.AioRpcError) -> None:
        known = {"create": ("NO_ROOM",), "renew": ("LEASE_ENDED", "NOT_FOUND")}
        if reason not in known.get(op, ("NOT_FOUND",)):
            self.bugs.append(f"{self.name}: {op}: {error.code().name} {reason}: {error.details()}")


def is_ours(error: grpc.aio.AioRpcError) -> bool:
    """Whether a broker said it, and not gRPC itself of a connection that broke."""
    return any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


def grant_of(answer: wire.CreateAllocationResponse) -> dict[str, Any]:
    """What a history says of a grant."""
    allocation = answer.allocation
    return {
        "allocation": allocation.id,
        "state": state_of(allocation),
        "level": int(answer.ack_level),
        "devices": [[p.node, d.device_id, d.milli] for p in allocation.leases for d in p.devices],
    }


def plain(_answer: Any) -> dict[str, Any]:
    """What a history says of an answer that says nothing new."""
    return {}


def state_of(allocation: wire.Allocation) -> str:
    """A state in one word."""
    return wire.AllocationState.Name(allocation.state).removeprefix("ALLOCATION_STATE_")


def reason_word(allocation: wire.Allocation) -> str:
    """How it ended, in one word."""
    return wire.EndReason.Name(allocation.end_reason).removeprefix("END_REASON_")
