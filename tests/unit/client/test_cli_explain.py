"""Explanations as they are read: why not, what would help, why here."""

import dataclasses
import json

import grpc
import pytest

from computepool.v1 import allocation_pb2, types_pb2
from computepool_client.cli.main import main
from fakes.pool_messages import make_allocation, make_refusal
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]
FULL = Failure(
    Code.RESOURCE_EXHAUSTED, "NO_ROOM", "no room", retry_after_s=0.1, refusal=make_refusal()
)


def refusal(*, beyond: bool = False) -> allocation_pb2.Refusal:
    fits = types_pb2.AllocationSpec(part=types_pb2.PartSpec(devices=6, models=["A100"]), ttl_s=60)
    made = make_refusal(beyond_pool=beyond)
    made.nearest.add(
        field="part.devices",
        asked="8",
        fits="6",
        summary="with 6 devices instead of 8",
        spec=fits,
        center="tj-2",
    )
    return made


def place(node: str, **others: int) -> allocation_pb2.Candidate:
    return allocation_pb2.Candidate(node=node, center="tj-1", region="tianjin", **others)


def test_what_would_fit_is_a_command_to_paste(services: ScriptedServices, capsys: Capture) -> None:
    answer = allocation_pb2.ExplainAllocationResponse(refusal=refusal(), view_revision=1234)
    services.script("ExplainAllocation", answer)
    assert main(["explain", "--gpus", "8", "--model", "A100", "--tenant", "t"]) == 3
    out = capsys.readouterr().out
    assert "tj-1 tianjin DEVICES 2 devices 5 4s" in [" ".join(x.split()) for x in out.splitlines()]
    assert (
        "  with 6 devices instead of 8 (at tj-2):\n"
        "    computepool allocate --gpus 6 --model A100 --ttl 1m --tenant t\n" in out
    )
    assert "nodes left: how many nodes of the center" in out
    assert "revision 1,234 of the view" in out
    asked = services.requests["ExplainAllocation"][0]
    assert (asked.spec.part.devices, asked.id) == (8, "")


def test_many_centers_are_cut_unless_all_are_asked_for(
    services: ScriptedServices, capsys: Capture
) -> None:
    many = make_refusal()
    for i in range(30):
        many.centers.add().CopyFrom(many.centers[0])
        many.centers[-1].center = f"center-{i:02d}"
    answer = allocation_pb2.PreviewAllocationResponse(refusal=many)
    services.script("PreviewAllocation", answer)
    assert main(["preview", "--gpus", "8"]) == 3
    out = capsys.readouterr().out
    assert "center-08" in out
    assert "center-09" not in out
    assert "... and 21 more (all: -o wide)" in out
    assert main(["preview", "--gpus", "8", "-o", "wide"]) == 3
    assert "center-29" in capsys.readouterr().out


def test_why_an_allocation_is_where_it_is(services: ScriptedServices, capsys: Capture) -> None:
    part = allocation_pb2.PartExplanation(
        place=place("n-1", device_milli_left=1000, cpu_milli_left=4000),
        model="A100",
        rank=1,
        candidates=35,
        others=[place("n-2"), place("n-3")],
        summary="least is left over there",
        state=types_pb2.LEASE_STATE_STARTED,
    )
    answer = allocation_pb2.ExplainAllocationResponse(
        summary="active on n-1",
        allocation=make_allocation(),
        parts=[part],
        parts_omitted=3,
        filters=[
            allocation_pb2.FilterStep(reason="NOT_SCHEDULABLE", nodes=40),
            allocation_pb2.FilterStep(reason="NEW_CHECK", nodes=35),
        ],
    )
    services.script("ExplainAllocation", answer)
    assert main(["explain", "a-1"]) == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "Allocation a-1: active on n-1." in lines
    assert "0 n-1 tj-1 tianjin A100 1 of 35 1 device, 4 cores STARTED" in lines
    assert "part 0: least is left over there" in lines
    assert "next best" not in out
    assert "... and 3 more parts" in lines
    assert "open: takes new grants 40" in lines
    assert "NEW_CHECK 35" in lines
    assert services.requests["ExplainAllocation"][0].id == "a-1"
    assert main(["explain", "a-1", "-o", "wide"]) == 0
    assert "part 0: next best are n-2, n-3" in capsys.readouterr().out


def test_an_explanation_as_json_or_names(services: ScriptedServices, capsys: Capture) -> None:
    parts = [allocation_pb2.PartExplanation(place=place("n-1"), index=i) for i in range(2)]
    answer = allocation_pb2.ExplainAllocationResponse(parts=parts)
    services.script("ExplainAllocation", answer)
    assert main(["explain", "--cpu", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["parts"]) == 2
    assert main(["explain", "--cpu", "1", "-o", "name"]) == 0
    assert capsys.readouterr().out == "n-1\n"


@pytest.mark.parametrize(
    ("given", "want"),
    [("", "give the id of an allocation"), ("a-1 --gpus 1", "give its id alone")],
)
def test_an_id_or_a_request_is_explained(
    services: ScriptedServices, capsys: Capture, given: str, want: str
) -> None:
    assert main(["explain", "--json", *given.split()]) == 2
    assert want in json.loads(capsys.readouterr().err)["error"]["message"]
    assert not services.requests


def test_what_the_pool_can_never_hold_is_not_waited_for(
    services: ScriptedServices, capsys: Capture
) -> None:
    beyond = dataclasses.replace(FULL, refusal=refusal(beyond=True))
    services.script("CreateAllocation", beyond)
    assert main(["allocate", "--gpus", "64", "--wait", "1h"]) == 3
    err = capsys.readouterr().err
    assert "Waiting does not help" in err
    assert "try again" not in err
    assert "--wait" not in err
    assert len(services.requests["CreateAllocation"]) == 1


def test_a_refusal_names_the_command_that_explains_it(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("CreateAllocation", FULL)
    given = ["--gpus", "16", "--region", "tianjin", "--ttl", "90s", "--tenant", "t"]
    assert main(["allocate", *given]) == 3
    want = "computepool explain --gpus 16 --region tianjin --ttl 1m30s --tenant t"
    assert want in capsys.readouterr().err


def test_power_and_spread_reach_the_broker_and_are_read_back(
    services: ScriptedServices, capsys: Capture
) -> None:
    granted = make_allocation()
    services.script("CreateAllocation", allocation_pb2.CreateAllocationResponse(allocation=granted))
    power = "--pflops 2.5 --precision int8 --mixed --model A100 --model H800 --cpu 4"
    assert main(["allocate", *power.split()]) == 0
    spread_out = "--gpus 1 --count 4 --spread centers --max-skew 2"
    assert main(["allocate", *spread_out.split()]) == 0
    by_power, spread = (each.spec for each in services.requests["CreateAllocation"])
    assert by_power.power == types_pb2.Power(gflops=2_500_000, precision="int8", mixed=True)
    assert (by_power.count, list(by_power.part.models)) == (0, ["A100", "H800"])
    assert spread.spread == types_pb2.Spread(over=types_pb2.SPREAD_OVER_CENTERS, max_skew=2)
    capsys.readouterr()
    found = [make_allocation(), make_allocation(id_="a-2")]
    found[0].spec.CopyFrom(by_power)
    found[1].spec.CopyFrom(spread)
    services.script("ListAllocations", allocation_pb2.ListAllocationsResponse(allocations=found))
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "2.5 P at int8 of A100 or H800, mixed, 4 cores per device" in out
    assert "4 parts of 1 device, spread over centers with a skew of 2" in out


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("--pflops 1 --gpus 1", "give one of the two"),
        ("--pflops 1 --gpu-milli 1", "give one of the two"),
        ("--pflops 1 --count 2", "give one of the two"),
        ("--pflops 1 --spread nodes", "give one of the two"),
        ("--gpus 1 --mixed", "needs --pflops"),
        ("--gpus 1 --precision fp8", "needs --pflops"),
        ("--gpus 1 --max-skew 2", "needs --spread"),
        ("--gpus 1 --spread racks", "write nodes, centers or regions"),
        ("--pflops 0", "out of range: 0.000001 to 1000000 P"),
        ("--pflops x", "is no number of P: write 2 or 0.5"),
        ("--gpus x", "'x' is no whole number from 0 to 64"),
        ("--gpus 1 --for x", "write active or reserved"),
    ],
)
def test_what_contradicts_itself_is_told_in_words(
    services: ScriptedServices, capsys: Capture, given: str, want: str
) -> None:
    assert main(["allocate", "--json", *given.split()]) == 2
    assert want in json.loads(capsys.readouterr().err)["error"]["message"]
    assert not services.requests
