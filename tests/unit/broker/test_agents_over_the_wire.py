"""What agents send, on a real server: cut in half, doubled, out of order, by strangers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import grpc
import pytest
from google.protobuf.message import DecodeError

from computepool.v1 import agent_pb2 as wire
from computepool.v1 import agent_pb2_grpc
from computepool_broker.rpc.server import bare_server
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_node
from support.state_text import everything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SYNC = "/computepool.v1.AgentService/Sync"


class Link(NamedTuple):
    """A broker with agent a1 active, and a connection to it."""

    kit: BrokerKit
    agent: agent_pb2_grpc.AgentServiceAsyncStub
    raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


@asynccontextmanager
async def connected() -> AsyncIterator[Link]:
    async with running_broker(make_node("n1")) as kit:
        server = bare_server(kit.pool.tally)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(kit.wire, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = agent_pb2_grpc.AgentServiceStub(channel)
                yield Link(kit, stub, channel.unary_unary(SYNC))
        finally:
            await server.stop(None)


def sync(sequence: int, *names: str, base: int = 0) -> wire.SyncRequest:
    nodes = [wire.NodeReport(node=name, labels={"k": "v"}) for name in names]
    return wire.SyncRequest(
        agent="a1", session=1, sequence=sequence, nodes=nodes, delta=bool(base), base_sequence=base
    )


def parses(data: bytes) -> bool:
    try:
        wire.SyncRequest.FromString(data)
    except DecodeError:
        return False
    return True


async def test_messages_cut_in_half_are_refused_by_type_and_change_nothing() -> None:
    whole = sync(2, "n1", "n2").SerializeToString()
    cut = [whole[:end] for end in range(len(whole)) if not parses(whole[:end])]
    async with connected() as link:
        before = everything(link.kit.pool.state)
        for data in cut:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await link.raw(data)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert len(cut) > 20
        assert everything(link.kit.pool.state) == before
        assert not (await link.agent.Sync(sync(2, base=1))).want_full


async def test_doubled_and_late_reports_change_nothing_the_second_time() -> None:
    async with connected() as link:
        await link.agent.Sync(sync(2, "n2", base=1))
        before = everything(link.kit.pool.state)
        assert (await link.agent.Sync(sync(2, "n2", base=1))).want_full
        assert everything(link.kit.pool.state) == before
        await link.agent.Sync(sync(3, "n1"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await link.agent.Sync(sync(2, "n9", base=1))
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert set(link.kit.pool.state.nodes) == {"n1"}


async def test_an_older_session_is_told_so() -> None:
    async with connected() as link:
        opening = wire.OpenSessionRequest(
            agent="a1",
            journal_id="journal-a1",
            session=2,
            protocol_version=1,
            center="c1",
            region="r1",
            role="core",
        )
        assert list((await link.agent.OpenSession(opening)).features) == ["delta"]
        for late in (sync(9, "n2"), sync(9, "n2", base=1)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await link.agent.Sync(late)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert "has session 2, not 1" in (refused.value.details() or "")
        assert set(link.kit.pool.state.nodes) == {"n1"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"base_sequence": 1}, "base_sequence"),
        ({"nodes_gone": ["n1"]}, "nodes_gone"),
        ({"leases_gone": ["x.0.0"]}, "leases_gone"),
        ({"delta": True}, "base_sequence"),
        ({"delta": True, "base_sequence": 2**63}, "base_sequence"),
        (
            {"delta": True, "base_sequence": 1, "nodes_gone": ["n1"], "nodes_unchanged": True},
            "nodes_unchanged",
        ),
        ({"delta": True, "base_sequence": 1, "nodes_gone": ["a\nb"]}, "nodes_gone[0]"),
        ({"delta": True, "base_sequence": 1, "leases_gone": ["\u202e"]}, "leases_gone[0]"),
    ],
)
async def test_a_difference_that_contradicts_itself_names_the_field(
    fields: dict[str, object], field: str
) -> None:
    async with connected() as link:
        before = everything(link.kit.pool.state)
        request = wire.SyncRequest(agent="a1", session=1, sequence=2, **fields)  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await link.agent.Sync(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = refused.value.details() or ""
        assert details.startswith(f"{field}:")
        assert details.isprintable()
        assert everything(link.kit.pool.state) == before
