"""What was granted is told, however much it is: an answer too large for a message tells nothing."""

from __future__ import annotations

import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.rpc.bulk import BRIEF, BulkCalls
from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.rpc.sizes import MAX_MESSAGE_BYTES
from computepool_broker.rpc.to_wire import spec_message
from support.broker_kit import running_broker
from support.builders import make_node, make_spec

SPEC = spec_message(make_spec(cpu=1, ttl_s=600))
LABELS = {f"label-{n}": "x" * 256 for n in range(15)}


@pytest.mark.parametrize("mode", ["BATCH_MODE_EACH", "BATCH_MODE_ATOMIC"])
async def test_a_batch_with_long_labels_is_answered_within_a_message(mode: str) -> None:
    async with running_broker(make_node(cpu=2_000)) as kit:
        request = wire.BatchCreateAllocationsRequest(
            mode=mode,
            wait_for=wire.WAIT_FOR_RESERVED,
            requests=[
                wire.CreateAllocationRequest(
                    spec=SPEC, labels=LABELS, description="d" * 60, request_id=f"r-{n}"
                )
                for n in range(1_000)
            ],
        )
        assert request.ByteSize() < MAX_MESSAGE_BYTES
        answer = await BulkCalls(kit.bulk, SpecReader(), kit.answers).create(request, None)
        assert answer.ByteSize() < MAX_MESSAGE_BYTES
        told = [result.created.allocation for result in answer.results]
        assert {each.id for each in told} == kit.pool.state.allocations.keys()
        first, last = told[0], told[-1]
        assert (len(first.labels), len(first.leases), list(first.flags)) == (15, 1, [])
        assert (len(last.labels), len(last.leases), list(last.flags)) == (0, 0, [BRIEF])
        assert (last.request_id, last.spec.ttl_s, last.etag != "") == ("r-999", 600, True)
