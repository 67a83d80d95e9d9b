"""StreamAllocations against a real broker: many calls, bad calls, clients that behave badly."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from typing import TYPE_CHECKING

import grpc
import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import allocation_pb2_grpc
from support.caller import ACTIVE, LIVE, Caller, reason_of, spec
from support.local_pool import DEVICES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.local_pool import LocalPool
    from support.processes import Daemon

LIMIT_S = 60.0
METHOD = "/computepool.v1.AllocationService/StreamAllocations"
# Else gRPC's own buffers on the client's side would take megabytes of unread answers.
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))
CPU_ONLY = spec(0, cpu_milli=1)


def create(
    ticket: int, request_id: str = "", wait_for: wire.WaitFor = wire.WAIT_FOR_RESERVED
) -> wire.StreamAllocationsRequest:
    request = wire.CreateAllocationRequest(spec=CPU_ONLY, request_id=request_id, wait_for=wait_for)
    return wire.StreamAllocationsRequest(ticket=ticket, create=request)


def release(ticket: int, allocation_id: str) -> wire.StreamAllocationsRequest:
    request = wire.ReleaseAllocationRequest(id=allocation_id)
    return wire.StreamAllocationsRequest(ticket=ticket, release=request)


async def say(
    caller: Caller, calls: Iterable[wire.StreamAllocationsRequest]
) -> dict[int, wire.StreamResult]:
    """Send calls, half-close, and collect the answers by ticket."""
    answers: dict[int, wire.StreamResult] = {}
    async for message in caller.allocations.StreamAllocations(iter(calls), timeout=LIMIT_S):
        assert message.results
        for result in message.results:
            assert result.ticket not in answers
            answers[result.ticket] = result
    return answers


async def up(pool: LocalPool) -> Daemon:
    """A broker with all simulated centers; gives the broker."""
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    return broker


async def test_a_stream_answers_every_call_once(pool: LocalPool, caller: Caller) -> None:
    await up(pool)
    made = await say(caller, (create(n) for n in range(1, 2_001)))
    assert sorted(made) == list(range(1, 2_001))
    ids = {result.create.allocation.id for result in made.values()}
    assert len(ids) == 2_000
    assert {row.id for row in await caller.all()} == ids
    back = await say(caller, (release(n, key) for n, key in enumerate(sorted(ids))))
    assert Counter(r.WhichOneof("result") for r in back.values()) == {"release": 2_000}
    assert not [row for row in await caller.all() if row.state in LIVE]


async def test_a_call_of_a_stream_can_wait_for_active_while_others_go_on(
    pool: LocalPool, caller: Caller
) -> None:
    await up(pool)
    answers = await say(caller, (create(n, wait_for=wire.WAIT_FOR_ACTIVE) for n in range(20)))
    assert {result.create.allocation.state for result in answers.values()} == {ACTIVE}


async def test_a_bad_call_fails_alone_and_names_its_field(pool: LocalPool, caller: Caller) -> None:
    await up(pool)
    much = wire.CreateAllocationRequest(spec=spec(DEVICES), wait_for=wire.WAIT_FOR_RESERVED)
    zero = wire.CreateAllocationRequest(spec=spec(1, count=1_000_000))
    renew = wire.RenewAllocationRequest(id="nobody")
    answers = await say(
        caller,
        [
            create(1),
            wire.StreamAllocationsRequest(ticket=2, create=zero),
            wire.StreamAllocationsRequest(ticket=3),
            wire.StreamAllocationsRequest(ticket=4, create=much),
            wire.StreamAllocationsRequest(ticket=5, renew=renew),
            create(6),
        ],
    )
    errors = {n: result.error.reason for n, result in answers.items() if n not in (1, 6)}
    assert errors == {2: "INVALID_FIELD", 3: "INVALID_FIELD", 4: "INVALID_FIELD", 5: "NOT_FOUND"}
    assert answers[2].error.field == "create.spec.count"
    assert answers[3].error.field == "call"
    assert answers[1].create.allocation.id
    assert answers[6].create.allocation.id


async def test_bytes_that_are_no_message_end_the_stream_with_a_typed_error(
    pool: LocalPool, caller: Caller
) -> None:
    broker = pool.broker()
    broker.start()
    await broker.ready()
    channel = grpc.aio.insecure_channel(pool.target)
    async with channel:
        stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(METHOD)
        call = stream(iter([b"\xff\xff\xff"]), timeout=LIMIT_S)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.read()
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error.value) == "INVALID_FIELD"
    assert (await caller.view()).allocations == 0


async def test_a_client_that_sends_and_does_not_read_is_not_read_either(
    pool: LocalPool, caller: Caller
) -> None:
    # Without agents there is no room: refusals are answers as good as any, and larger.
    broker = pool.broker()
    broker.start()
    await broker.ready()
    channel = grpc.aio.insecure_channel(pool.target, options=SMALL_WINDOW)
    stub = allocation_pb2_grpc.AllocationServiceStub(channel)
    call = stub.StreamAllocations(timeout=LIMIT_S)
    sent, enough = 0, False

    async def send() -> None:
        nonlocal sent
        while not enough:
            large = create(sent)
            large.create.description = "x" * 1_000
            await call.write(large)
            sent += 1
        await call.done_writing()

    sender = asyncio.create_task(send())
    taken = -1
    while (now := (await caller.view()).refusals_total) != taken or not now:
        taken = now
        await asyncio.wait([sender], timeout=0.5)
    enough = True
    answered = 0
    async for message in call:
        answered += len(message.results)
    await sender
    await channel.close()
    assert answered == sent
    assert (await caller.view()).refusals_total == answered


async def test_a_cancelled_stream_loses_answers_and_no_grants(
    pool: LocalPool, caller: Caller
) -> None:
    await up(pool)
    wanted = [f"r-{n}" for n in range(300)]
    call = caller.allocations.StreamAllocations(timeout=LIMIT_S)
    for n, name in enumerate(wanted):
        await call.write(create(n, name))
    call.cancel()
    answers = await say(caller, (create(n, name) for n, name in enumerate(wanted)))
    ids = {result.create.allocation.id for result in answers.values()}
    assert len(ids) == 300
    assert {row.id for row in await caller.all()} == ids
    assert not await caller.findings()


async def test_a_stopping_broker_answers_what_it_has_read_and_says_so(
    pool: LocalPool, caller: Caller
) -> None:
    broker = await up(pool)
    call = caller.allocations.StreamAllocations(timeout=LIMIT_S)
    await call.write(create(1))
    first = await call.read()
    assert isinstance(first, wire.StreamAllocationsResponse)
    assert first.results[0].ticket == 1
    broker.signal(signal.SIGTERM)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call.read()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(error.value) == "STOPPING"
