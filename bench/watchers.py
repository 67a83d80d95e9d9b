"""Clients that watch, for a bench: many of the view and some of allocations, in one process.

Run as a program: `python -m bench.watchers --broker HOST:PORT --views 1000 --allocations 20`. One
JSON line on standard input, {"watch": true} or {"watch": false}, opens or ends all streams; each
is answered by one line on standard output when that is done. The answer to the end says what was
told, and how late: a change is as late as the time from its grant, by the broker's clock, to the
arrival of the message that shows it, by this process' clock on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import grpc

from bench.fleet import standard_input
from computepool.v1 import allocation_pb2, inventory_pb2
from computepool.v1.allocation_pb2_grpc import AllocationServiceStub
from computepool.v1.inventory_pb2_grpc import InventoryServiceStub

STREAMS_A_CONNECTION = 100
RESERVED = allocation_pb2.ALLOCATION_STATE_RESERVED
SAMPLES = 10
"""Changes of one message of the view whose lateness is noted, evenly chosen."""
OPEN_LIMIT_S = 60.0


class Tally:
    """What was told during one turn.

    Attributes:
        granted_ms: When each allocation was granted, by its id, as one of the watchers was told.
        late_ms: Of grants that no agent has answered yet, over all watchers.
        views: For each message of the view after the first: when it came, and the grants that the
            one before and it had counted.
    """

    def __init__(self) -> None:
        self.granted_ms: dict[str, float] = {}
        self.late_ms: list[float] = []
        self.views: list[tuple[float, int, int]] = []
        self.first_grants = 0
        self.view_bytes = 0
        self.allocation_messages = 0
        self.allocation_bytes = 0

    def summary(self) -> dict[str, Any]:
        """Counts and percentiles, in milliseconds."""
        return {
            "view_messages": len(self.views),
            "view_bytes": self.view_bytes,
            "allocation_messages": self.allocation_messages,
            "allocation_bytes": self.allocation_bytes,
            "allocations": len(self.granted_ms),
            "view_late_ms": percentiles(self._views_late_ms()),
            "allocation_late_ms": percentiles(self.late_ms),
        }

    def _views_late_ms(self) -> list[float]:
        granted_ms = sorted(self.granted_ms.values())
        out = []
        for came_ms, before, after in self.views:
            for at in range(SAMPLES):
                number = before + (after - before) * at // SAMPLES - self.first_grants
                if after > before and 0 <= number < len(granted_ms):
                    out.append(came_ms - granted_ms[number])
        return out


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p99 and the most; empty without values."""
    if not values:
        return {}
    values.sort()
    last = len(values) - 1
    return {
        "p50": values[last // 2],
        "p99": values[last * 99 // 100],
        "max": values[last],
        "samples": float(len(values)),
    }


class Watchers:
    """All streams of one broker."""

    def __init__(self, broker: str, views: int, allocations: int) -> None:
        self._views = views
        self._allocations = allocations
        # Channels of one process share connections unless told otherwise.
        options = (("grpc.use_local_subchannel_pool", 1),)
        count = 1 + (views + allocations) // STREAMS_A_CONNECTION
        channels = [grpc.aio.insecure_channel(broker, options) for _ in range(count)]
        self._inventory = [InventoryServiceStub(channel) for channel in channels]
        self._ledger = [AllocationServiceStub(channel) for channel in channels]
        self._tasks: list[asyncio.Task[None]] = []
        self._open = 0
        self._all_open = asyncio.Event()
        self.tally = Tally()

    async def open(self) -> None:
        """Open all, and wait until each has had its first message."""
        self.tally = Tally()
        self._open = 0
        self._all_open.clear()
        for at in range(self._views):
            self._tasks.append(asyncio.create_task(self._view(at)))
        for at in range(self._allocations):
            self._tasks.append(asyncio.create_task(self._follow(at)))
        async with asyncio.timeout(OPEN_LIMIT_S):
            await self._all_open.wait()

    async def end(self) -> None:
        """End all."""
        for task in self._tasks:
            task.cancel()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        failed = [e for e in done if e is not None and not isinstance(e, asyncio.CancelledError)]
        if failed:
            raise RuntimeError(f"{len(failed)} watches failed, the first with {failed[0]!r}")

    def _opened(self) -> None:
        self._open += 1
        if self._open == self._views + self._allocations:
            self._all_open.set()

    async def _view(self, at: int) -> None:
        tally, before = self.tally, -1
        request = inventory_pb2.WatchViewRequest(least_interval_ms=1_000)
        async for message in self._inventory[at % len(self._inventory)].WatchView(request):
            grants = message.view.grants_total
            if before < 0:
                tally.first_grants = grants
                self._opened()
            else:
                tally.views.append((time.time() * 1000, before, grants))
                tally.view_bytes += message.ByteSize()
            before = grants

    async def _follow(self, at: int) -> None:
        tally, began = self.tally, False
        request = allocation_pb2.WatchAllocationsRequest(changes_only=True)
        stub = self._ledger[at % len(self._ledger)]
        async for message in stub.WatchAllocations(request):
            if not began:
                began = True
                self._opened()
                continue
            now_ms = time.time() * 1000
            tally.allocation_messages += 1
            tally.allocation_bytes += message.ByteSize()
            if at == 0:
                for event in message.events:
                    tally.granted_ms.setdefault(event.allocation.id, granted_ms(event.allocation))
            ends = (message.events[0], message.events[-1]) if message.events else ()
            tally.late_ms += [
                now_ms - granted_ms(e.allocation) for e in ends if e.allocation.state == RESERVED
            ]


def granted_ms(allocation: allocation_pb2.Allocation) -> float:
    """When it was granted, in milliseconds since 1970."""
    return allocation.create_time.seconds * 1000 + allocation.create_time.nanos / 1e6


async def serve(broker: str, views: int, allocations: int) -> None:
    """Do as told until standard input ends."""
    watchers = Watchers(broker, views, allocations)
    print(json.dumps({"ready": True}), flush=True)
    commands = await standard_input()
    while line := await commands.readline():
        if json.loads(line)["watch"]:
            await watchers.open()
            print(json.dumps({"open": views + allocations}), flush=True)
        else:
            await watchers.end()
            answer = watchers.tally.summary() | {"cpu_s": time.process_time()}
            print(json.dumps(answer), flush=True)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, help="host:port")
    parser.add_argument("--views", type=int, default=1_000)
    parser.add_argument("--allocations", type=int, default=20)
    args = parser.parse_args()
    asyncio.run(serve(args.broker, args.views, args.allocations))


if __name__ == "__main__":
    main()
