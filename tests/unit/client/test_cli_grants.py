"""What happens to an allocation, in process, against a real server with scripted answers."""

import grpc
import pytest

from computepool.v1 import allocation_pb2
from computepool_client.cli.grants import export_lines
from computepool_client.cli.main import main
from fakes.pool_messages import (
    make_allocation,
    make_lease,
)
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]


def test_get_prints_what_to_paste_for_each_node(
    services: ScriptedServices, capsys: Capture
) -> None:
    allocation = make_allocation(
        make_lease(0, "n0", ("GPU-a", "GPU-b")), make_lease(1, "n1", ("GPU c",), milli=250)
    )
    services.script("GetAllocation", allocation_pb2.GetAllocationResponse(allocation=allocation))
    assert main(["get", "a-1"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith(("export", "#"))]
    assert lines == [
        "# on n0",
        "export COMPUTEPOOL_ALLOCATION=a-1 COMPUTEPOOL_NODE=n0 CUDA_VISIBLE_DEVICES=GPU-a,GPU-b",
        "# on n1",
        "export COMPUTEPOOL_ALLOCATION=a-1 COMPUTEPOOL_NODE=n1 CUDA_VISIBLE_DEVICES='GPU c'",
    ]
    assert "GPU c (0.25)" in out
    assert "59m 59s" in out


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("Ascend-910B2", "ASCEND_RT_VISIBLE_DEVICES"),
        ("MI300X", "ROCR_VISIBLE_DEVICES"),
        ("H800", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_what_to_paste_names_the_variable_of_the_devices_maker(model: str, variable: str) -> None:
    lease = make_lease(0, "n0", ("d0",))
    lease.model = model
    (line,) = export_lines(make_allocation(lease))
    assert line.endswith(f" {variable}=d0")


def test_what_has_ended_is_not_offered_for_use(services: ScriptedServices, capsys: Capture) -> None:
    ended = make_allocation(
        state=allocation_pb2.ALLOCATION_STATE_ENDED, end=allocation_pb2.END_REASON_EXPIRED
    )
    services.script("GetAllocation", allocation_pb2.GetAllocationResponse(allocation=ended))
    assert main(["get", "a-1"]) == 0
    out = capsys.readouterr().out
    assert "ENDED (EXPIRED)" in out
    assert "export" not in out


def test_list_passes_its_filters_on(services: ScriptedServices, capsys: Capture) -> None:
    answer = allocation_pb2.ListAllocationsResponse(allocations=[make_allocation()])
    services.script("ListAllocations", answer)
    assert main(["list", "--tenant", "t", "--all"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:3] == ["a-1", "default", "ACTIVE"]
    asked = services.requests["ListAllocations"][0]
    assert (asked.tenant, asked.include_ended) == ("t", True)


def test_renew_says_the_new_expiry(services: ScriptedServices, capsys: Capture) -> None:
    answer = allocation_pb2.RenewAllocationResponse(allocation=make_allocation())
    services.script("RenewAllocation", answer)
    assert main(["renew", "a-1", "--ttl", "2h"]) == 0
    assert "expires in 59m 59s" in capsys.readouterr().out
    assert services.requests["RenewAllocation"][0].ttl_s == 7200


def test_one_release_that_fails_does_not_keep_the_others(
    services: ScriptedServices, capsys: Capture
) -> None:
    done = allocation_pb2.ReleaseAllocationResponse(
        allocation=make_allocation(
            state=allocation_pb2.ALLOCATION_STATE_RELEASING,
            end=allocation_pb2.END_REASON_RELEASED,
        )
    )
    services.script(
        "ReleaseAllocation", Failure(Code.NOT_FOUND, "UNKNOWN_ALLOCATION", "no a-0"), done
    )
    assert main(["release", "a-0", "a-1", "--message", "done"]) == 4
    captured = capsys.readouterr()
    assert "no a-0" in captured.err
    assert "Released a-1: it is RELEASING (RELEASED)" in captured.out
    assert [each.id for each in services.requests["ReleaseAllocation"]] == ["a-0", "a-1"]
