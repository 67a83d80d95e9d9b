"""Levels of acknowledgement over the wire: what each answer names, and what is said of a miss."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2
from computepool_client import AckLevel, AsyncPool, NotAcknowledgedError
from support.caller import ACTIVE, CALL_S, RELEASING, RESERVED, Caller, reason_of, spec
from support.local_pool import CENTERS
from support.processes import program
from support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from support.local_pool import LocalPool
    from support.processes import Daemon

NONE, COMMITTED, DURABLE, CONFIRMED = (
    wire.ACK_LEVEL_UNSPECIFIED,
    wire.ACK_LEVEL_COMMITTED,
    wire.ACK_LEVEL_DURABLE,
    wire.ACK_LEVEL_CONFIRMED,
)
ANY, NOW, THEN = wire.WAIT_FOR_UNSPECIFIED, wire.WAIT_FOR_RESERVED, wire.WAIT_FOR_ACTIVE
SHORT_MS = 300
WHAT = spec(0)


async def up(pool: LocalPool, caller: Caller, **settings: str) -> tuple[Daemon, Daemon]:
    """A broker, and all centers, which count as alive for long while they are paused."""
    quiet = {"disconnected_after_s": "60", "lost_after_s": "120", "report_interval_s": "5"}
    broker, region = pool.broker(**quiet, admit_timeout_s="60", **settings), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    return broker, region


def create(
    request_id: str,
    level: wire.AckLevel,
    wait_for: wire.WaitFor = ANY,
    wait_ms: int = 0,
) -> wire.CreateAllocationRequest:
    return wire.CreateAllocationRequest(
        request_id=request_id, spec=WHAT, ack_level=level, wait_for=wait_for, wait_ms=wait_ms
    )


async def made(
    caller: Caller, request: wire.CreateAllocationRequest
) -> wire.CreateAllocationResponse:
    return await caller.allocations.CreateAllocation(request, timeout=CALL_S)


async def streamed(
    caller: Caller, *calls: wire.StreamAllocationsRequest
) -> list[wire.StreamResult]:
    answers = caller.allocations.StreamAllocations(iter(calls), timeout=CALL_S)
    return [result async for message in answers for result in message.results]


def batch(
    level: wire.AckLevel, wait_for: wire.WaitFor, *ids: str, atomic: bool = False, wait_ms: int = 0
) -> wire.BatchCreateAllocationsRequest:
    return wire.BatchCreateAllocationsRequest(
        requests=[wire.CreateAllocationRequest(request_id=key, spec=WHAT) for key in ids],
        mode=wire.BATCH_MODE_ATOMIC if atomic else wire.BATCH_MODE_EACH,
        ack_level=level,
        wait_for=wait_for,
        wait_ms=wait_ms,
    )


class Missed(NamedTuple):
    """What an error says."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]


def said(error: grpc.aio.AioRpcError) -> Missed:
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
    return Missed(error.code(), info.reason, dict(info.metadata))


async def levels_of(
    caller: Caller, name: str, level: wire.AckLevel, wait_for: wire.WaitFor
) -> set[wire.AckLevel]:
    """What all four ways to create name in their answers; the same twice, by duplicates."""
    told = set()
    for _ in range(2):
        told.add((await made(caller, create(f"{name}-one", level, wait_for))).ack_level)
        for atomic in (False, True):
            request = batch(
                level, wait_for, f"{name}-a{atomic}", f"{name}-b{atomic}", atomic=atomic
            )
            answer = await caller.allocations.BatchCreateAllocations(request, timeout=CALL_S)
            told |= {result.created.ack_level for result in answer.results}
        call = wire.StreamAllocationsRequest(create=create(f"{name}-stream", level, wait_for))
        told |= {result.create.ack_level for result in await streamed(caller, call)}
    return told


# What is asked for, and when to answer, to what every answer names; on the embedded store.
ROWS = [
    (NONE, ANY, DURABLE),
    (NONE, NOW, DURABLE),
    (COMMITTED, NOW, DURABLE),
    (COMMITTED, THEN, DURABLE),
    (DURABLE, NOW, DURABLE),
    (DURABLE, THEN, DURABLE),
    (CONFIRMED, ANY, CONFIRMED),
    (CONFIRMED, THEN, CONFIRMED),
]


async def test_every_way_to_create_names_what_holds(pool: LocalPool, caller: Caller) -> None:
    await up(pool, caller)
    for number, (asked, wait_for, want) in enumerate(ROWS):
        told = await levels_of(caller, f"r{number}", asked, wait_for)
        assert told == {want}, (asked, wait_for)
    assert len(await caller.all()) == 6 * len(ROWS)
    for level in (NONE, COMMITTED, DURABLE):
        mine = (await made(caller, create(f"back-{level}", DURABLE))).allocation
        request = wire.ReleaseAllocationRequest(id=mine.id, ack_level=level)
        call = wire.StreamAllocationsRequest(ticket=1, release=request)
        answer = await caller.allocations.ReleaseAllocation(request, timeout=CALL_S)
        assert answer.allocation.state == RELEASING
        (again,) = await streamed(caller, call)
        assert again.release.allocation.id == mine.id
    assert not await caller.findings()


async def test_what_the_agents_do_not_confirm_in_time_is_unknown_and_asked_for_again(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = await up(pool, caller)
    region.pause()
    one = create("one", CONFIRMED, wait_ms=SHORT_MS)
    call = wire.StreamAllocationsRequest(
        ticket=7, create=create("stream", CONFIRMED, wait_ms=SHORT_MS)
    )
    each = batch(CONFIRMED, ANY, "e1", "e2", wait_ms=SHORT_MS)
    together = batch(CONFIRMED, ANY, "t1", "t2", atomic=True, wait_ms=SHORT_MS)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await made(caller, one)
    missed = said(error.value)
    there = {row.request_id: row for row in await caller.all()}
    assert missed.code is grpc.StatusCode.UNAVAILABLE
    assert missed.reason == "OUTCOME_UNKNOWN"
    assert missed.metadata == {"ack_level": "CONFIRMED", "allocation_id": there["one"].id}
    assert there["one"].state == RESERVED
    (result,) = await streamed(caller, call)
    assert (result.ticket, result.error.code) == (7, grpc.StatusCode.UNAVAILABLE.value[0])
    assert result.error.metadata["ack_level"] == "CONFIRMED"
    answer = await caller.allocations.BatchCreateAllocations(each, timeout=CALL_S)
    assert {r.error.reason for r in answer.results} == {"OUTCOME_UNKNOWN"}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.allocations.BatchCreateAllocations(together, timeout=CALL_S)
    assert said(error.value).metadata["index"] == "0"
    # Who does not insist is told how far it has come, as ever.
    told = await made(caller, create("one", DURABLE, wait_ms=SHORT_MS))
    assert (told.ack_level, told.allocation.state) == (DURABLE, RESERVED)
    region.resume()
    for request in (one, call.create):
        request.wait_ms = 0
        again = await made(caller, request)
        assert (again.ack_level, again.allocation.state) == (CONFIRMED, ACTIVE)
        assert again.duplicate
    for many in (each, together):
        many.wait_ms = 0
        answer = await caller.allocations.BatchCreateAllocations(many, timeout=CALL_S)
        assert {r.created.ack_level for r in answer.results} == {CONFIRMED}
    assert len(await caller.all()) == 6
    assert not await caller.findings()
    assert "internal_error" not in broker.log


async def test_what_was_not_confirmed_can_be_released_by_the_id_in_the_error(
    pool: LocalPool, caller: Caller
) -> None:
    _, region = await up(pool, caller)
    region.pause()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        # The deadline of the call ends the wait, too, before gRPC would.
        await caller.allocations.CreateAllocation(create("", CONFIRMED), timeout=1)
    await caller.release(said(error.value).metadata["allocation_id"])
    region.resume()
    (row,) = await caller.all()
    assert row.state != ACTIVE
    assert not [n for n in (await caller.nodes()).values() if n.granted.cpu_milli < 0]


@pytest.mark.parametrize(
    ("setting", "waits", "does_not"),
    [
        ("committed", DURABLE, DURABLE),  # on this store nothing is less
        ("durable", DURABLE, DURABLE),
        ("confirmed", CONFIRMED, DURABLE),
    ],
)
async def test_who_names_no_level_has_the_broker_s(
    pool: LocalPool, caller: Caller, setting: str, waits: wire.AckLevel, does_not: wire.AckLevel
) -> None:
    broker, region = await up(pool, caller, ack_level=setting)
    assert f'"ack_level": "{setting}"' in broker.log
    assert await levels_of(caller, "waits", NONE, ANY) == {waits}
    assert await levels_of(caller, "does-not", NONE, NOW) == {does_not}
    await caller.release((await caller.all())[0].id)
    region.pause()
    call = made(caller, create("late", NONE, wait_ms=SHORT_MS))
    if waits == CONFIRMED:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert reason_of(error.value) == "OUTCOME_UNKNOWN"
    else:
        assert (await call).allocation.state == RESERVED


async def test_a_store_that_cannot_give_a_level_says_so_before_anything_is_done(
    pool: LocalPool, caller: Caller, tmp_path: Path
) -> None:
    with running_redis(tmp_path / "redis", "everysec") as server:
        broker, _ = await up(pool, caller, store=server.url())
        assert await levels_of(caller, "auto", NONE, ANY) == {COMMITTED}
        assert await levels_of(caller, "asked", COMMITTED, NOW) == {COMMITTED}
        before = sorted((row.id, row.end_reason) for row in await caller.all())
        mine = (await caller.all())[0].id
        for level in (DURABLE, CONFIRMED):
            requests: list[Awaitable[object]] = [
                caller.allocations.CreateAllocation(create("no", level), timeout=CALL_S),
                caller.allocations.BatchCreateAllocations(batch(level, ANY, "no"), timeout=CALL_S),
            ]
            if level == DURABLE:
                request = wire.ReleaseAllocationRequest(id=mine, ack_level=level)
                requests.append(caller.allocations.ReleaseAllocation(request, timeout=CALL_S))
            for call in requests:
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call
                missed = said(error.value)
                assert missed.code is grpc.StatusCode.FAILED_PRECONDITION
                assert missed.reason == "ACK_LEVEL_UNAVAILABLE"
                assert "appendfsync always" in (error.value.details() or "")
            call_no = wire.StreamAllocationsRequest(ticket=1, create=create("no", level))
            (result,) = await streamed(caller, call_no)
            assert result.error.reason == "ACK_LEVEL_UNAVAILABLE"
        # No etags: the agents are still starting what was granted.
        assert sorted((row.id, row.end_reason) for row in await caller.all()) == before
        assert await broker.stop() == 0
        for setting in ("durable", "confirmed"):
            refused = pool.broker(f"refused-{setting}", store=server.url(), ack_level=setting)
            refused.start()
            assert await refused.ended() == 2
            assert f"STORE_REFUSED: ack_level {setting}:" in refused.log
            assert "appendfsync always" in refused.log


async def test_a_redis_that_syncs_each_time_gives_every_level(
    pool: LocalPool, caller: Caller, tmp_path: Path
) -> None:
    with running_redis(tmp_path / "redis", "always") as server:
        broker, _ = await up(pool, caller, store=server.url(), ack_level="durable")
        assert await levels_of(caller, "default", NONE, ANY) == {DURABLE}
        assert await levels_of(caller, "confirmed", CONFIRMED, ANY) == {CONFIRMED}
        kept = await made(caller, create("kept", CONFIRMED))
        broker.kill()
        broker.start()
        await broker.ready()
        again = await made(caller, create("kept", CONFIRMED))
        assert (again.allocation.id, again.ack_level) == (kept.allocation.id, CONFIRMED)
        assert await broker.stop() == 0


async def said_by_command(pool: LocalPool, *arguments: str) -> tuple[int | None, dict[str, Any]]:
    """Status and document of the command; of an error, what stands on stderr."""
    process = await asyncio.create_subprocess_exec(
        program("computepool"),
        *arguments,
        *("--json", "--endpoint", pool.target, "--timeout", "2s"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(CALL_S):
        out, err = await process.communicate()
    return process.returncode, json.loads(out or err)


async def test_the_command_and_the_sdk_ask_for_a_level_and_name_what_holds(
    pool: LocalPool, caller: Caller
) -> None:
    _, region = await up(pool, caller)
    status, told = await said_by_command(pool, "allocate", "--cpu", "1", "--ack", "confirmed")
    assert (status, told["ack_level"]) == (0, "ACK_LEVEL_CONFIRMED")
    mine = told["allocation"]["id"]
    status, told = await said_by_command(pool, "release", mine, "--ack", "durable")
    assert (status, told["ack_level"]) == (0, "ACK_LEVEL_DURABLE")
    async with AsyncPool(pool.target) as sdk:
        async with sdk.allocate(cpu=1, ack="confirmed") as lease:
            assert (lease.ack, lease.state) == (AckLevel.CONFIRMED, "ACTIVE")
        region.pause()
        kept = asyncio.create_task(
            sdk.allocate(cpu=1, ack="confirmed", request_id="k").__aenter__()
        )
        status, told = await said_by_command(
            pool, "allocate", "--cpu", "1", "--ack", "confirmed", "--request-id", "c"
        )
        assert (status, told["error"]["reason"]) == (1, "OUTCOME_UNKNOWN")
        assert "--request-id c" in told["error"]["message"]
        with pytest.raises(NotAcknowledgedError) as missed:
            await sdk.allocate(cpu=1, ack="confirmed", timeout=1.0)
        given_back = await caller.get(missed.value.allocation_id)
        assert given_back.state not in (RESERVED, ACTIVE)
        region.resume()
        assert (await kept).ack is AckLevel.CONFIRMED
        status, told = await said_by_command(
            pool, "allocate", "--cpu", "1", "--ack", "confirmed", "--request-id", "c"
        )
        assert (status, told["ack_level"]) == (0, "ACK_LEVEL_CONFIRMED")
    assert not await caller.findings()
