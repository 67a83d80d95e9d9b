"""What happens to an allocation, in process, against a real server with scripted answers."""

import io
import json
import sys

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


def test_one_is_released_by_its_own_call(services: ScriptedServices, capsys: Capture) -> None:
    releasing = make_allocation(
        state=allocation_pb2.ALLOCATION_STATE_RELEASING, end=allocation_pb2.END_REASON_RELEASED
    )
    services.script(
        "ReleaseAllocation", allocation_pb2.ReleaseAllocationResponse(allocation=releasing)
    )
    assert main(["release", "a-1", "--message", "done"]) == 0
    assert "Released a-1: it is RELEASING (RELEASED)" in capsys.readouterr().out
    assert services.requests["ReleaseAllocation"][0].message == "done"


def failed(id_: str) -> allocation_pb2.BatchFailure:
    error = allocation_pb2.CallError(code=5, reason="UNKNOWN_ALLOCATION", message=f"no {id_}")
    return allocation_pb2.BatchFailure(id=id_, error=error)


def test_one_release_that_fails_does_not_keep_the_others(
    services: ScriptedServices, capsys: Capture
) -> None:
    done = allocation_pb2.BatchReleaseAllocationsResponse(released=1, failures=[failed("a-0")])
    services.script("BatchReleaseAllocations", done)
    assert main(["release", "a-0", "a-1", "a-1", "--message", "done"]) == 4
    captured = capsys.readouterr()
    assert "a-0: no a-0" in captured.err
    assert "Released 1 allocation." in captured.out
    assert services.requests["BatchReleaseAllocations"] == [
        allocation_pb2.BatchReleaseAllocationsRequest(ids=["a-0", "a-1"], message="done")
    ]


def test_many_are_released_a_thousand_at_a_time(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script(
        "BatchReleaseAllocations",
        lambda request: allocation_pb2.BatchReleaseAllocationsResponse(released=len(request.ids)),
    )
    assert main(["release", "--json", *(f"a-{i}" for i in range(2500))]) == 0
    assert json.loads(capsys.readouterr().out) == {"released": 2500, "failures": []}
    assert [len(each.ids) for each in services.requests["BatchReleaseAllocations"]] == [
        1000,
        1000,
        500,
    ]


def test_a_call_that_fails_says_how_many_were_done_before(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script(
        "BatchReleaseAllocations",
        allocation_pb2.BatchReleaseAllocationsResponse(released=1000),
        Failure(Code.UNAVAILABLE, "STOPPING", "it stops"),
    )
    assert main(["release", *(f"a-{i}" for i in range(1500))]) == 5
    assert "it stops (1,000 were released before)" in capsys.readouterr().err


def test_a_filter_releases_what_is_live_and_asks_first(
    services: ScriptedServices, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = make_allocation(id_="a-2", state=allocation_pb2.ALLOCATION_STATE_RELEASING)
    found = allocation_pb2.ListAllocationsResponse(allocations=[make_allocation(), going])
    services.script("ListAllocations", found)
    services.script(
        "BatchReleaseAllocations", allocation_pb2.BatchReleaseAllocationsResponse(released=1)
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    given = ["release", "--filter", "labels.job = 1"]
    assert main(given) == 2
    assert "1 allocation" in capsys.readouterr().err
    assert not services.requests["BatchReleaseAllocations"]
    assert main([*given, "--yes"]) == 0
    assert services.requests["ListAllocations"][0].filter == "labels.job = 1"
    assert services.requests["BatchReleaseAllocations"][0].ids == ["a-1"]


@pytest.mark.parametrize("given", ["", "a-1 --filter x", "a-1 --yes"])
def test_ids_or_a_filter_are_needed(services: ScriptedServices, given: str) -> None:
    for command in ("renew", "release"):
        assert main([command, *given.split()]) == 2
    assert not services.requests


def test_several_are_renewed_in_one_call(services: ScriptedServices, capsys: Capture) -> None:
    services.script(
        "BatchRenewAllocations", allocation_pb2.BatchRenewAllocationsResponse(renewed=2)
    )
    assert main(["renew", "a-1", "a-2", "--ttl", "2h"]) == 0
    assert "Renewed 2 allocations." in capsys.readouterr().out
    assert services.requests["BatchRenewAllocations"] == [
        allocation_pb2.BatchRenewAllocationsRequest(ids=["a-1", "a-2"], ttl_s=7200)
    ]
