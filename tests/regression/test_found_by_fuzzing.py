"""What fuzzing found, as it was found: calls in hex, and what was wrong with their answers."""

from __future__ import annotations

import pytest

from computepool.v1 import agent_pb2, allocation_pb2
from support import virtual_time
from support.fuzz_broker import Case, play

SYNC = "/computepool.v1.AgentService/Sync"
ANY = "y" * 100_000


def sync(**fields: object) -> bytes:
    request = agent_pb2.SyncRequest(
        agent="a1", session=1, sequence=2, delta=True, base_sequence=1, applied_revision=6
    )
    request.MergeFrom(agent_pb2.SyncRequest(**fields))  # type: ignore[arg-type]
    return request.SerializeToString()


@pytest.mark.parametrize(
    "data", [sync(nodes_gone=[ANY]), sync(leases_gone=["x", ANY])], ids=["node", "lease"]
)
def test_an_error_repeats_no_more_of_a_name_than_is_useful(data: bytes) -> None:
    # The name stood whole in the status details: 100 KiB of trailers, which no client takes.
    virtual_time.run(play([Case(SYNC, (data,))]))


def test_an_error_of_a_batch_repeats_no_more_than_that_either() -> None:
    request = allocation_pb2.BatchRenewAllocationsRequest(ids=[ANY])
    method = "/computepool.v1.AllocationService/BatchRenewAllocations"
    virtual_time.run(play([Case(method, (request.SerializeToString(),))]))
