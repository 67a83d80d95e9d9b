"""SIGTERM while work goes on, and starts that must be refused with a sentence."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import RESERVED, Caller, reason_of, spec
from support.load import Load, all_comes_back, check_book, settled
from support.local_pool import CENTERS, DEVICES
from support.processes import eventually

if TYPE_CHECKING:
    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(90)


async def test_broker_stops_in_good_order_under_load_and_goes_on_where_it_was(
    pool: LocalPool, caller: Caller, seed: str
) -> None:
    broker, region = pool.broker(stop_grace_s="3"), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    async with Load(pool.target, seed) as load:
        await load.progress(grants=20, answers=100)
        began = time.monotonic()
        assert await broker.stop(within_s=20) == 0
        assert time.monotonic() - began < 3 + 5
        assert "Traceback" not in broker.log
        broker.start()
        await broker.ready()
        await load.progress(grants=20)
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    await settled(caller)
    await check_book(caller, load.book)
    assert await caller.findings() == []
    await all_comes_back(caller, DEVICES)
    assert await region.stop() == 0
    assert "Traceback" not in region.log


async def test_open_doorbells_do_not_hold_up_the_stop(pool: LocalPool) -> None:
    grace_s = 60.0
    broker, region = pool.broker(stop_grace_s=f"{grace_s:g}"), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    began = time.monotonic()
    assert await broker.stop(within_s=grace_s) == 0
    assert time.monotonic() - began < grace_s / 4


async def test_grants_that_wait_for_their_agents_do_not_hold_up_the_stop(
    pool: LocalPool, caller: Caller
) -> None:
    grace_s = 60.0
    broker = pool.broker(
        stop_grace_s=f"{grace_s:g}",
        admit_timeout_s="60",
        disconnected_after_s="60",
        lost_after_s="120",
    )
    region = pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    region.kill()
    request = allocation_pb2.CreateAllocationRequest(
        spec=spec(1), wait_for=allocation_pb2.WAIT_FOR_ACTIVE, wait_ms=60_000
    )
    batch = allocation_pb2.BatchCreateAllocationsRequest(
        requests=[allocation_pb2.CreateAllocationRequest(spec=spec(1)) for _ in range(2)],
        wait_for=request.wait_for,
        wait_ms=request.wait_ms,
    )
    stream = allocation_pb2.StreamAllocationsRequest(create=request)
    single: Any = caller.allocations.CreateAllocation(request)
    several: Any = caller.allocations.BatchCreateAllocations(batch)
    streamed: Any = caller.allocations.StreamAllocations(iter([stream]))

    async def all_are_granted() -> bool:
        return len(await caller.all()) == 4

    await eventually(all_are_granted, "all are granted")
    began = time.monotonic()
    broker.signal(signal.SIGTERM)
    answers = [(await single).allocation]
    answers += [result.created.allocation for result in (await several).results]
    answers += [result.create.allocation for result in (await streamed.read()).results]
    assert [answer.state for answer in answers] == [RESERVED] * 4
    assert await broker.ended(grace_s) == 0
    assert time.monotonic() - began < grace_s / 4
    assert "Traceback" not in broker.log


async def test_calls_that_come_while_the_broker_stops_are_told_so(pool: LocalPool) -> None:
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    told: Counter[tuple[str, str]] = Counter()

    async def call() -> None:
        async with Caller(pool.target) as caller:
            while True:
                try:
                    await caller.view()
                    told["OK", ""] += 1
                except grpc.aio.AioRpcError as error:
                    told[error.code().name, reason_of(error)] += 1
                    return

    calling = [asyncio.create_task(call()) for _ in range(8)]

    async def answered() -> bool:
        return told["OK", ""] > 100

    await eventually(answered, "all are at it")
    assert await broker.stop() == 0
    await asyncio.gather(*calling)
    del told["OK", ""]
    assert told == {("UNAVAILABLE", "STOPPING"): 8}


async def test_second_broker_on_the_same_store_is_refused(pool: LocalPool, caller: Caller) -> None:
    first = pool.broker()
    first.start()
    await first.ready()
    second = pool.broker("second", listen="127.0.0.1:0")
    second.start()
    assert await second.ended() == 2
    assert f"{pool.store} is in use by process {first.pid}" in second.log
    assert "Traceback" not in second.log
    assert not second.ready_path.exists()
    assert first.running
    assert (await caller.view()).allocations == 0


async def test_port_that_is_taken_is_named(pool: LocalPool, caller: Caller) -> None:
    first = pool.broker()
    first.start()
    await first.ready()
    second = pool.broker("second", store=f"embedded:{pool.folder / 'other'}")
    second.start()
    assert await second.ended() == 1
    assert f"cannot listen on {pool.target}: Address already in use" in second.log
    assert "name another with --listen" in second.log
    assert "Traceback" not in second.log
    assert (await caller.view()).allocations == 0


async def test_listening_for_everybody_without_tls_must_be_asked_for(pool: LocalPool) -> None:
    broker = pool.broker(listen="0.0.0.0:0")
    broker.start()
    assert await broker.ended() == 2
    assert "--insecure" in broker.log
    assert "Traceback" not in broker.log
