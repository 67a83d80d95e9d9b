"""Levels of acknowledgement in a stream of calls: each call has its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.rpc.to_wire import spec_message
from computepool_broker.services.levels import Level
from support.broker_kit import running_broker
from support.builders import make_node, make_spec
from support.stream_client import StreamClient, stream_of
from support.writer_levels import asked_of_the_writer

if TYPE_CHECKING:
    import asyncio

    import pytest

COMMITTED, DURABLE, CONFIRMED = Level


def of_stream(
    ticket: int, level: wire.AckLevel, wait_for: wire.WaitFor = wire.WAIT_FOR_RESERVED
) -> wire.StreamAllocationsRequest:
    return wire.StreamAllocationsRequest(
        ticket=ticket,
        create=wire.CreateAllocationRequest(
            request_id=f"s{ticket}",
            spec=spec_message(make_spec(cpu=1)),
            wait_for=wait_for,
            wait_ms=0 if wait_for == wire.WAIT_FOR_RESERVED else 200,
            ack_level=level,
        ),
    )


async def test_the_calls_of_a_stream_go_to_the_writer_by_their_levels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_broker(make_node(cpu=64)) as kit:
        seen = asked_of_the_writer(kit, monkeypatch)
        calls = [
            of_stream(n, wire.ACK_LEVEL_DURABLE if n % 2 else wire.ACK_LEVEL_COMMITTED)
            for n in range(1, 21)
        ]
        client = StreamClient(calls)
        await stream_of(kit, client).run()
        assert sorted(result.ticket for result in client.results) == list(range(1, 21))
        assert {r.create.ack_level for r in client.results} == {wire.ACK_LEVEL_DURABLE}
        assert set(seen) == {COMMITTED, DURABLE}
        assert len(seen) < len(calls)


async def test_a_call_of_a_stream_that_is_not_confirmed_has_that_as_its_answer() -> None:
    async with running_broker(make_node(cpu=64)) as kit:
        active = wire.WAIT_FOR_ACTIVE
        client = StreamClient(
            [of_stream(1, wire.ACK_LEVEL_CONFIRMED, active), of_stream(2, wire.ACK_LEVEL_DURABLE)]
        )
        await stream_of(kit, client).run()
        durable, missed = client.results
        assert (durable.ticket, durable.create.ack_level) == (2, wire.ACK_LEVEL_DURABLE)
        assert (missed.ticket, missed.error.reason) == (1, "OUTCOME_UNKNOWN")
        assert missed.error.metadata["allocation_id"] in kit.pool.state.allocations
        assert not kit.pool.waiters


async def test_a_stream_s_job_that_is_run_again_answers_the_same_calls_once() -> None:
    async with running_broker(make_node(cpu=64)) as kit:
        submit, twice = kit.pool.committer.submit, []

        def again(job: Any, weight: int = 1, level: Level = COMMITTED) -> asyncio.Future[Any]:
            def run(stage: Any) -> Any:
                job(stage)
                twice.append(level)
                return job(stage)

            return submit(run, weight, level)

        kit.pool.committer.submit = again  # type: ignore[method-assign]
        client = StreamClient([of_stream(n, wire.ACK_LEVEL_DURABLE) for n in range(1, 9)])
        await stream_of(kit, client).run()
        assert twice
        assert sorted(result.ticket for result in client.results) == list(range(1, 9))
        # Run upon its own results here, so that they are duplicates: nothing is granted twice.
        assert all(result.create.duplicate for result in client.results)
        assert len(kit.pool.state.allocations) == 8
