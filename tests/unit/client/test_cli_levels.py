"""Levels of acknowledgement on the command line: asked for, shown, missed."""

import json

import grpc
import pytest

from computepool.v1 import allocation_pb2
from computepool_client.cli.main import main
from fakes.pool_messages import make_allocation
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("level", ["committed", "durable", "confirmed"])
def test_a_level_is_asked_for_and_the_one_that_holds_is_shown(
    services: ScriptedServices, capsys: Capture, level: str
) -> None:
    held = allocation_pb2.CreateAllocationResponse(
        allocation=make_allocation(), ack_level=allocation_pb2.ACK_LEVEL_DURABLE
    )
    services.script("CreateAllocation", held)
    assert main(["allocate", "--gpus", "1", "--ack", level]) == 0
    assert "  ack level   durable\n" in capsys.readouterr().out
    assert main(["allocate", "--gpus", "1", "--ack", level, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ack_level"] == "ACK_LEVEL_DURABLE"
    asked = [request.ack_level for request in services.requests["CreateAllocation"]]
    assert asked == [allocation_pb2.AckLevel.Value(f"ACK_LEVEL_{level.upper()}")] * 2
    assert main(["allocate", "--gpus", "1", "--ack", "quorum"]) == 2
    unframed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "write committed, durable or confirmed" in unframed


@pytest.mark.parametrize(
    ("failure", "status", "says"),
    [
        (
            Failure(
                Code.UNAVAILABLE,
                "OUTCOME_UNKNOWN",
                "a-1 is granted, but was not confirmed",
                {"ack_level": "CONFIRMED", "allocation_id": "a-1"},
            ),
            1,
            "repeat the command with --request-id r-1",
        ),
        (Failure(Code.FAILED_PRECONDITION, "ACK_LEVEL_UNAVAILABLE", "set it"), 6, "set it"),
        (
            Failure(
                Code.INVALID_ARGUMENT,
                "INVALID_FIELD",
                "ack_level: CONFIRMED waits",
                fields={"ack_level": "CONFIRMED waits"},
            ),
            2,
            "--ack: CONFIRMED waits",
        ),
    ],
)
def test_a_level_that_was_missed_or_cannot_be_had_is_told_in_words(
    services: ScriptedServices, capsys: Capture, failure: Failure, status: int, says: str
) -> None:
    services.script("CreateAllocation", failure)
    given = ["allocate", "--gpus", "1", "--request-id", "r-1", "--ack", "confirmed"]
    assert main(given) == status
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("level", ["committed", "durable"])
def test_a_release_is_asked_for_at_a_level_and_told_so(
    services: ScriptedServices, capsys: Capture, level: str
) -> None:
    releasing = make_allocation(
        state=allocation_pb2.ALLOCATION_STATE_RELEASING, end=allocation_pb2.END_REASON_RELEASED
    )
    number = allocation_pb2.AckLevel.Value(f"ACK_LEVEL_{level.upper()}")
    services.script(
        "ReleaseAllocation", allocation_pb2.ReleaseAllocationResponse(allocation=releasing)
    )
    assert main(["release", "a-1", "--ack", level]) == 0
    assert f"Released a-1: it is RELEASING (RELEASED) ({level})." in capsys.readouterr().out
    assert main(["release", "a-1", "--ack", level, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ack_level"] == f"ACK_LEVEL_{level.upper()}"
    assert [each.ack_level for each in services.requests["ReleaseAllocation"]] == [number] * 2


def test_several_at_a_level_are_released_one_by_one(
    services: ScriptedServices, capsys: Capture
) -> None:
    gone = Failure(Code.NOT_FOUND, "NOT_FOUND", "no a-1")
    done = allocation_pb2.ReleaseAllocationResponse(allocation=make_allocation())
    services.script("ReleaseAllocation", done, gone, done)
    assert main(["release", "a-0", "a-1", "a-2", "--ack", "durable", "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["released"], told["ack_level"]) == (2, "ACK_LEVEL_DURABLE")
    assert [(each["id"], each["error"]["reason"]) for each in told["failures"]] == [
        ("a-1", "NOT_FOUND")
    ]
    assert [each.id for each in services.requests["ReleaseAllocation"]] == ["a-0", "a-1", "a-2"]


def test_a_release_has_nothing_to_confirm(services: ScriptedServices, capsys: Capture) -> None:
    assert main(["release", "a-1", "--ack", "confirmed"]) == 2
    unframed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "write committed or durable" in unframed
    assert not services.requests
