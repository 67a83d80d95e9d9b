"""Messages that are too large; too many streams, calls, connections and doorbells."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from computepool.v1 import agent_pb2, types_pb2
from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import InvalidArgumentError, SessionStaleError
from computepool_broker.rpc import backlog, interceptor, server, sizes, stream
from computepool_broker.rpc.server import bare_server
from support.broker_kit import running_broker
from support.builders import make_agent, make_node
from support.caller import reason_of
from support.fuzz_broker import FuzzBroker, fuzz_broker
from support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.broker_kit import BrokerKit

SERVICE = "/computepool.v1.AllocationService"


async def serving(broker: FuzzBroker) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """A real server with the broker's services."""
    on = bare_server(broker.kit.pool.tally)
    broker.serve_on(on)
    port = on.add_insecure_port("127.0.0.1:0")
    await on.start()
    try:
        yield on, port
    finally:
        await on.stop(None)


@pytest.fixture
async def wired() -> AsyncIterator[tuple[FuzzBroker, grpc.aio.Channel]]:
    """A broker behind a socket, and a channel to it."""
    async with fuzz_broker() as broker:
        async for _, port in serving(broker):
            options = (("grpc.max_receive_message_length", -1),)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
                yield broker, channel


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def padded(size: int) -> bytes:
    """A create of so many bytes; all of them are a field that nobody knows, which is allowed."""
    body = wire.CreateAllocationRequest(wait_for=wire.WAIT_FOR_RESERVED)
    body.spec.part.resources.cpu_milli = 1
    known = body.SerializeToString()
    # Field 1,000, length-delimited; a length of three bytes.
    rest = size - len(known) - 5
    return (
        known
        + b"\xc2\x3e"
        + bytes([rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14])
        + b"x" * rest
    )


async def test_a_request_of_the_most_bytes_is_taken_and_one_byte_more_is_not(
    wired: tuple[FuzzBroker, grpc.aio.Channel],
) -> None:
    broker, channel = wired
    create: Any = channel.unary_unary(f"{SERVICE}/CreateAllocation")
    before = broker.kit.pool.grants
    await create(padded(sizes.MAX_REQUEST_BYTES))
    error = await refused(create(padded(sizes.MAX_REQUEST_BYTES + 1)))
    assert reason_of(error) == "INVALID_FIELD"
    assert "request: the request has 262,145 bytes, at most 262,144 are taken" in (
        error.details() or ""
    )
    assert broker.kit.pool.grants == before + 1


async def test_a_message_of_a_stream_is_bounded_too(
    wired: tuple[FuzzBroker, grpc.aio.Channel],
) -> None:
    _, channel = wired
    call: Any = channel.stream_stream(f"{SERVICE}/StreamAllocations")()
    await call.write(b"\xc2\x3e\x80\x80\x10" + b"x" * sizes.MAX_REQUEST_BYTES)
    error = await refused(call.read())
    assert reason_of(error) == "INVALID_FIELD"


async def test_what_is_larger_than_any_message_is_refused_by_grpc(
    wired: tuple[FuzzBroker, grpc.aio.Channel],
) -> None:
    broker, channel = wired
    create: Any = channel.unary_unary(f"{SERVICE}/CreateAllocation")
    error = await refused(create(b"\x00" * (sizes.MAX_MESSAGE_BYTES + 1)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert broker.kit.pool.grants == 3


LONG = "y" * 300_000


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (wire.CreateAllocationRequest(description=LONG, tenant="x"), "description"),
        (
            wire.CreateAllocationRequest(labels={f"k{n}": "v" for n in range(60_000)}),
            "labels",
        ),
        (
            wire.CreateAllocationRequest(
                request_id="r",
                spec=types_pb2.AllocationSpec(
                    ttl_s=60, node_labels={f"k{n}": "v" for n in range(60_000)}
                ),
            ),
            "spec.node_labels",
        ),
        (
            wire.CreateAllocationRequest(
                spec=types_pb2.AllocationSpec(
                    part=types_pb2.PartSpec(models=["H" * 40_000] * 9), regions=["r"] * 9
                )
            ),
            "spec.part.models",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_too_large_is_named(message: wire.CreateAllocationRequest, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        sizes.check_size(message.SerializeToString(), 262_144, message.DESCRIPTOR)
    assert error.value.field == field


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 300,
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x09\x00",
        b"\xc2\x3e\x05abcde",
        b"\x0b" * 90,
        b"\x00\x00",
    ],
)
def test_what_cannot_be_read_is_a_request_that_is_too_large(data: bytes) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        sizes.check_size(data, -1, wire.CreateAllocationRequest.DESCRIPTOR)
    assert error.value.field in ("request", "tenant")


@pytest.mark.parametrize(
    ("method", "most"),
    [("Sync", 2 << 20), ("BatchCreateAllocations", 2 << 20), ("GetView", 1 << 18)],
)
def test_the_bound_follows_from_the_call(method: str, most: int) -> None:
    assert sizes.most_bytes(f"/computepool.v1.AnyService/{method}") == most


# -- too many at once ------------------------------------------------------------------------


async def test_streams_of_calls_are_bounded_and_counted_until_they_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "MAX_STREAMS", 2)
    async with fuzz_broker() as broker:
        async for _, port in serving(broker):
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                talk: Any = channel.stream_stream(f"{SERVICE}/StreamAllocations")
                two = [talk(), talk()]
                one_call = wire.StreamAllocationsRequest(ticket=1).SerializeToString()
                for call in two:
                    await call.write(one_call)
                    assert await call.read()
                error = await refused(talk().read())
                assert reason_of(error) == "OVERLOADED"
                two[0].cancel()

                async def left() -> bool:
                    return broker.streams.open == 1

                await eventually(left, "the cancelled one is counted no more")
                third = talk()
                await third.write(one_call)
                assert await third.read()
                for call in (two[1], third):
                    call.cancel()


async def test_calls_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptor, "MAX_CALLS", 3)
    hold, began = asyncio.Event(), asyncio.Semaphore(0)

    async def waits(_: bytes, __: Any) -> bytes:
        began.release()
        await hold.wait()
        return b""

    on = bare_server()
    handler: Any = {"F": grpc.unary_unary_rpc_method_handler(waits)}
    on.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handler),))
    port = on.add_insecure_port("127.0.0.1:0")
    await on.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        one: Any = channel.unary_unary("/t.T/F")
        three = [one(b"") for _ in range(3)]
        for _ in three:
            await began.acquire()
        assert reason_of(await refused(one(b""))) == "OVERLOADED"
        hold.set()
        await asyncio.gather(*three)
        assert await one(b"") == b""
    await on.stop(None)


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "most_connections", lambda: 2)
    async with fuzz_broker() as broker:
        async for _, port in serving(broker):
            own = (("grpc.use_local_subchannel_pool", 1),)
            channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", own) for _ in range(3)]
            calls: list[Any] = [c.unary_unary(f"{SERVICE}/ListAllocations") for c in channels]
            for call in calls[:2]:
                await call(b"", timeout=10)
            assert (await refused(calls[2](b"", timeout=10))).code() is (
                grpc.StatusCode.UNAVAILABLE
            )
            await channels[0].close()
            await calls[2](b"", timeout=20, wait_for_ready=True)
            for channel in channels:
                await channel.close()


def test_connections_leave_files_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, want in ((1_024, 896), (64, 1), (10**6, 20_000), (-1, 20_000)):
        monkeypatch.setattr("resource.getrlimit", lambda _, n=files: (n, n))
        assert server.most_connections() == want


# -- doorbells -------------------------------------------------------------------------------


async def ring_of(kit: BrokerKit, session: int = 1) -> AsyncIterator[int]:
    async for revision in kit.agents.rings("a1", session):
        yield revision


async def test_a_second_doorbell_of_a_session_ends_the_first() -> None:
    async with running_broker(make_node()) as kit:
        kit.pool.life("a1").bell.clear()  # it rang for what the first report changed
        first, second = ring_of(kit), ring_of(kit)
        waiting = asyncio.ensure_future(anext(first))
        await asyncio.sleep(0)
        heard = asyncio.ensure_future(anext(second))
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 10)
        assert not heard.done(), "nothing has happened that it should ring for"
        kit.pool.life("a1").bell.set()
        assert await asyncio.wait_for(heard, 10) == kit.pool.state.revision


async def test_a_ring_that_nobody_heard_goes_to_the_next_doorbell() -> None:
    async with running_broker(make_node()) as kit:
        kit.pool.life("a1").bell.set()
        assert await asyncio.wait_for(anext(ring_of(kit)), 10) == kit.pool.state.revision


async def test_a_doorbell_whose_session_is_over_says_so_rather_than_end() -> None:
    async with running_broker(make_node()) as kit:
        kit.pool.life("a1").bell.clear()  # it rang for what the first report changed
        old = ring_of(kit)
        waiting = asyncio.ensure_future(anext(old))
        await asyncio.sleep(0)
        await kit.open(make_agent(session=2))
        with pytest.raises(SessionStaleError):
            await asyncio.wait_for(waiting, 10)


async def test_a_thousand_doorbells_of_one_session_are_one(
    wired: tuple[FuzzBroker, grpc.aio.Channel],
) -> None:
    broker, channel = wired
    listen: Any = channel.unary_stream("/computepool.v1.AgentService/WatchCommands")
    request = agent_pb2.WatchCommandsRequest(agent="a1", session=1).SerializeToString()
    calls = [listen(request) for _ in range(1_000)]

    async def one_left() -> bool:
        counted = broker.kit.pool.tally.calls.get("/computepool.v1.AgentService/WatchCommands")
        return counted is not None and counted.open == 1 and sum(counted.ended.values()) == 999

    await eventually(one_left, "all but the last have ended", 60)
    for call in calls:
        call.cancel()


# -- those who come too fast -----------------------------------------------------------------


def test_a_short_queue_leaves_those_who_come_too_fast_unanswered() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as listening, ExitStack() as stack:
        assert backlog.shorten(listening.getsockname()[1], 2) == 1
        coming = []
        for _ in range(20):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
            coming.append(one)
        _, connected, _ = select.select([], coming, [], 0.2)
        assert 0 < len(connected) <= 4


async def test_the_queue_of_a_server_is_found() -> None:
    on = bare_server()
    port = on.add_insecure_port("127.0.0.1:0")
    await on.start()
    assert backlog.shorten(port) >= 1
    assert backlog.shorten(1) == 0
    await on.stop(None)
