"""Answers that said the wrong thing or too much, and tables that grew without bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from computepool.v1.allocation_pb2 import ListAllocationsRequest
from computepool.v1.types_pb2 import AllocationSpec
from computepool_broker.control.ttl import Deadlines
from computepool_broker.errors import (
    InvalidArgumentError,
    LeaseEndedError,
    NoRoomError,
    OverloadedError,
)
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.records import Device
from computepool_broker.model.sorted_ids import SortedIds
from computepool_broker.rpc.errors import status_of
from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.rpc.server import bare_server
from computepool_broker.rpc.to_wire import SpecWriter, spec_message
from computepool_broker.services import agents
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_agent, make_node, make_spec
from support.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST_DETAILS = 4096


async def test_renewing_an_ended_lease_says_so_whatever_the_etag() -> None:
    async with running_broker(make_node()) as kit:
        made = await kit.create(make_spec(gpus=1))
        etag = made.etag
        await kit.allocations.release(made.id, "", "")
        with pytest.raises(LeaseEndedError):
            await kit.allocations.renew(made.id, etag, 0)


def test_renewing_to_and_fro_does_not_pile_up_deadlines() -> None:
    deadlines = Deadlines()
    for at in range(20_000):
        deadlines.set("x", 1_000_000 if at % 2 else 10_000)
    deadlines.due(20_000, 500)
    assert len(deadlines._heap) < 5_000


async def test_a_cordoned_node_that_vanishes_for_a_while_comes_back_cordoned() -> None:
    store = MemoryStore()
    async with running_broker(make_node("n1"), make_node("n2"), store=store) as kit:
        await kit.inventory.cordon_node("n1", "new fans", on=True)
        await kit.report([make_node("n2")])
        assert Blocker.names(kit.pool.state.nodes["n1"].blockers) == ["CORDONED", "GONE"]
        again = BrokerKit(MemoryStore(store.disk))
        await again.start()
        await again.join(make_node("n1"), make_node("n2"))
        assert Blocker.names(again.pool.state.nodes["n1"].blockers) == ["CORDONED"]
        await again.report([make_node("n2")])
        await again.inventory.cordon_node("n1", "", on=False)
        await again.report()
        assert "n1" not in again.pool.state.nodes
        await again.stop()


async def test_details_of_a_refusal_stay_small_whatever_was_asked_for() -> None:
    centers = [f"{'c' * 240}-{at}" for at in range(12)]
    nodes = [make_node(c, agent=c, center=c, region="r" * 250) for c in centers]
    models = [f"{'m' * 120}-{at}" for at in range(64)]
    async with running_broker(*nodes) as kit:
        with pytest.raises(NoRoomError) as refusal:
            await kit.create(make_spec(gpus=1, models=models))
        status = status_of(refusal.value)
        assert status.ByteSize() < MOST_DETAILS


async def test_an_empty_pool_asks_for_a_retry_soon() -> None:
    kit = BrokerKit(MemoryStore())
    await kit.start()
    with pytest.raises(NoRoomError) as refusal:
        await kit.create(make_spec(gpus=1))
    assert refusal.value.retry_after_ms is not None
    assert refusal.value.retry_after_ms <= 2_000
    await kit.stop()


async def test_a_bug_is_told_with_a_reason_like_every_error() -> None:
    async def fails(_: bytes, __: Any) -> bytes:
        raise KeyError("hidden")

    server = bare_server()
    handler: Any = grpc.unary_unary_rpc_method_handler(fails)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"F": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary("/t.T/F")
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await call(b"")
    finally:
        await server.stop(None)
    error = failed.value
    assert error.code() is grpc.StatusCode.INTERNAL
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("INTERNAL", "computepool")
    assert "hidden" not in status.message


async def test_bytes_that_are_no_message_are_an_invalid_argument() -> None:
    async def answers(_: AllocationSpec, __: Any) -> AllocationSpec:
        return AllocationSpec()

    async def streams(_: AllocationSpec, __: Any) -> AsyncIterator[AllocationSpec]:
        yield AllocationSpec()

    server = bare_server()
    shape: Any = {
        "request_deserializer": AllocationSpec.FromString,
        "response_serializer": AllocationSpec.SerializeToString,
    }
    handlers: Any = {
        "One": grpc.unary_unary_rpc_method_handler(answers, **shape),
        "Many": grpc.unary_stream_rpc_method_handler(streams, **shape),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            one: Any = channel.unary_unary("/t.T/One")
            many: Any = channel.unary_stream("/t.T/Many")
            assert await one(b"") == b""
            assert await many(b"").read() == b""
            for call in (one(b"\x0a\xff"), many(b"\x0a\xff").read()):
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await call
                assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                status = rpc_status.from_call(failed.value)
                info = error_details_pb2.ErrorInfo()
                assert status is not None
                assert status.details[0].Unpack(info)
                assert (info.reason, info.metadata["field"]) == ("INVALID_FIELD", "request")
    finally:
        await server.stop(None)


async def test_an_agent_with_ever_new_kinds_of_devices_does_not_spoil_the_view() -> None:
    async with running_broker(make_node()) as kit:
        kinds = [
            make_node(
                f"m{n}",
                devices=tuple(Device(f"d{at}", "X", 1 + 64 * n + at) for at in range(64)),
            )
            for n in range(520)
        ]
        with pytest.raises(InvalidArgumentError, match="kinds of devices"):
            await kit.report([make_node(), *kinds])
        extras = [
            make_node(f"m{n}", extras={f"e{n}-{at}": 1 for at in range(30)}) for n in range(9)
        ]
        with pytest.raises(InvalidArgumentError, match="named extras"):
            await kit.report([make_node(), *extras])
        assert list(kit.pool.state.nodes) == ["n1"]
        assert not check_invariants(kit.pool.state, kit.pool.columns)


async def test_agents_beyond_count_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "MAX_AGENTS", 2)
    async with running_broker(make_node("n1"), make_node("n2", agent="a2")) as kit:
        with pytest.raises(OverloadedError):
            await kit.open(make_agent("a3"))
        await kit.open(make_agent("a2", session=2))


def test_long_specs_are_not_remembered() -> None:
    reader, writer = SpecReader(), SpecWriter()
    for at in range(3):
        labels = {f"k{place}": f"{at}" * 256 for place in range(64)}
        message = spec_message(make_spec(cpu=1, labels=labels))
        assert writer.message(reader.read("spec", message)) == message
    assert not reader._known
    assert not writer.message._known


async def test_pages_of_many_allocations_do_not_look_at_all_of_them() -> None:
    looked = 0

    class Counted(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            nonlocal looked
            looked += 1
            return super().get(key, default)

        def values(self) -> Any:
            raise AssertionError("all allocations were looked at")

    async with running_broker(make_node(gpus=0, cpu=3000)) as kit:
        ids = [(await kit.create(make_spec(cpu=1))).id for _ in range(300)]
        await kit.allocations.release(ids[7], "", "")
        await kit.report()
        kit.pool.state.allocations = Counted(kit.pool.state.allocations)
        request = ListAllocationsRequest(page_size=5)
        request.page_token = (await kit.lists.allocations(request)).next_page_token
        page = await kit.lists.allocations(request)
        assert [a.id for a in page.allocations] == [*ids[5:7], *ids[8:11]]
        assert page.next_page_token
        assert looked < 40
        late = ListAllocationsRequest(page_size=5, include_ended=True, filter=f"id > {ids[297]}")
        page = await kit.lists.allocations(late)
        assert [a.id for a in page.allocations] == ids[298:]
        assert not page.next_page_token


def test_ids_that_left_are_not_kept_for_ever() -> None:
    ids, there = SortedIds(), set()
    for at in range(20_000):
        ids.add(f"{at:08}")
        there.add(f"{at:08}")
        if at >= 10:
            there.discard(f"{at - 10:08}")
            ids.leave(there.__contains__)
    for _ in range(2):
        ids.add("00000005")
    assert list(ids.after("00000004"))[:2] != ["00000005", "00000005"]
    assert len(list(ids.after(""))) < 3_000
    assert list(ids.after("00019997")) == ["00019998", "00019999"]
    assert next(ids.after("")) == "00000005"
