"""Asking for an allocation from the command line, and waiting for room."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import grpc
import pytest

from computepool.v1 import allocation_pb2, types_pb2
from computepool_client import errors
from computepool_client.cli.main import main
from computepool_client.cli.waiting import Asking, Pause
from computepool_client.client import PoolClient
from fakes.pool_messages import make_allocation, make_lease, make_refusal
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]
FULL = Failure(
    Code.RESOURCE_EXHAUSTED, "NO_ROOM", "no room", retry_after_s=0.1, refusal=make_refusal()
)
WARMING_UP = Failure(Code.UNAVAILABLE, "WARMING_UP", "warming up", retry_after_s=0.1)
GRANTED = allocation_pb2.CreateAllocationResponse(allocation=make_allocation())


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServices]:
    with ScriptedServices() as running:
        monkeypatch.setenv("COMPUTEPOOL_ENDPOINT", running.endpoint)
        yield running


def test_every_flag_reaches_the_broker(services: ScriptedServices) -> None:
    services.script("CreateAllocation", GRANTED)
    given = (
        "allocate --gpus 2 --model A100 --model H800 --min-gpu-memory 40GiB --cpu 1.5"
        " --memory 32GiB --disk 100GiB --extra nvme=2 --count 3 --region r1 --region r2 --center c1"
        " --node-label disk=ssd --ttl 2h --contact stop-after:10m --tenant t --request-id r-1"
        " --description text --label team=vision --for reserved"
    )
    assert main(given.split()) == 0
    want = allocation_pb2.CreateAllocationRequest(
        tenant="t",
        request_id="r-1",
        description="text",
        labels={"team": "vision"},
        wait_for=allocation_pb2.WAIT_FOR_RESERVED,
        spec=types_pb2.AllocationSpec(
            part=types_pb2.PartSpec(
                resources=types_pb2.Resources(
                    cpu_milli=1500, memory_mib=32768, disk_mib=102400, extras={"nvme": 2}
                ),
                devices=2,
                models=["A100", "H800"],
                min_device_memory_mib=40960,
            ),
            count=3,
            regions=["r1", "r2"],
            centers=["c1"],
            node_labels={"disk": "ssd"},
            ttl_s=7200,
            contact=types_pb2.ContactTerm(policy=types_pb2.CONTACT_POLICY_STOP_AFTER, after_s=600),
        ),
    )
    assert services.requests["CreateAllocation"] == [want]


def test_the_broker_is_told_to_answer_before_the_deadline(services: ScriptedServices) -> None:
    services.script("CreateAllocation", GRANTED)
    assert main(["allocate", "--gpus", "1", "--timeout", "5s"]) == 0
    asked = services.requests["CreateAllocation"][0]
    assert asked.wait_for == allocation_pb2.WAIT_FOR_ACTIVE
    assert 0 < asked.wait_ms < 5000


def test_each_call_has_a_request_id_of_its_own(services: ScriptedServices) -> None:
    services.script("CreateAllocation", GRANTED)
    for _ in range(2):
        assert main(["allocate", "--gpu-milli", "250"]) == 0
    ids = {each.request_id for each in services.requests["CreateAllocation"]}
    assert len(ids) == 2
    assert all(ids)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("", "say what is wanted"),
        ("--gpus 1 --gpu-milli 5", "give one of the two"),
        ("--cpu 1 --model A100", "needs --gpus, --gpu-milli or --pflops"),
        ("--cpu 1 --extra a", "no extra"),
        ("--cpu 1 --extra a=1 --extra a=2", "comes twice"),
        ("--cpu 1 --node-label a", "no label"),
        ("--cpu 1 --label =b", "no label"),
        ("--gpus 65", "'--gpus'"),
        ("--gpu-milli 1000", "'--gpu-milli'"),
        ("--cpu 1 --count 0", "'--count'"),
        ("--cpu 1 --ttl 5", "no duration"),
        ("--cpu 1 --contact never", "no contact term"),
        ("--cpu 1 --request-id=", "1 to 128 printable"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(
    services: ScriptedServices, capsys: Capture, given: str, want: str
) -> None:
    assert main(["allocate", "--json", *given.split()]) == 2
    assert want in json.loads(capsys.readouterr().err)["error"]["message"]
    assert not services.requests["CreateAllocation"]


def test_a_grant_is_shown_with_what_to_paste(services: ScriptedServices, capsys: Capture) -> None:
    services.script("CreateAllocation", GRANTED)
    assert main(["allocate", "--gpus", "1"]) == 0
    out = capsys.readouterr().out
    assert "Allocation a-1 is ACTIVE." in out
    assert "request id  r-1" in out
    assert "\nexport COMPUTEPOOL_ALLOCATION=a-1 COMPUTEPOOL_NODE=tj-1-n0" in out


def test_what_is_not_yet_admitted_is_not_offered_for_use(
    services: ScriptedServices, capsys: Capture
) -> None:
    reserved = make_allocation(state=allocation_pb2.ALLOCATION_STATE_RESERVED)
    answer = allocation_pb2.CreateAllocationResponse(allocation=reserved)
    services.script("CreateAllocation", answer)
    assert main(["allocate", "--gpus", "1"]) == 0
    out = capsys.readouterr().out
    assert "a place may still change" in out
    assert "export" not in out


def test_an_allocation_that_failed_at_once_is_a_failure(services: ScriptedServices) -> None:
    failed = make_allocation(
        state=allocation_pb2.ALLOCATION_STATE_ENDED, end=allocation_pb2.END_REASON_FAILED
    )
    answer = allocation_pb2.CreateAllocationResponse(allocation=failed)
    services.script("CreateAllocation", answer)
    assert main(["allocate", "--gpus", "1"]) == 1


def test_no_room_says_why_for_each_center(services: ScriptedServices, capsys: Capture) -> None:
    services.script("CreateAllocation", FULL)
    assert main(["allocate", "--gpus", "16"]) == 3
    err = capsys.readouterr().err
    assert "No room: no center has 16 free A100 on one node" in err
    assert "tj-1 tianjin DEVICES 2 devices 5 4s" in [" ".join(x.split()) for x in err.splitlines()]


@pytest.mark.parametrize(
    ("reason", "want"),
    [
        ("DEVICES", "With --wait 10m"),
        ("REGION_NOT_ALLOWED", "computepool view --depth center"),
        ("CENTER_NOT_ALLOWED", "computepool view --depth center"),
        ("MODEL", "computepool view --depth model"),
    ],
)
def test_a_name_that_fits_nothing_is_not_told_to_wait(
    reason: str, want: str, services: ScriptedServices, capsys: Capture
) -> None:
    refusal = make_refusal()
    refusal.centers[0].reason = reason
    services.script("CreateAllocation", dataclasses.replace(FULL, refusal=refusal))
    assert main(["allocate", "--gpus", "16"]) == 3
    err = capsys.readouterr().err
    assert want in err
    assert ("With --wait 10m" in err) == (reason == "DEVICES")
    assert ("tj-1" in err) != reason.endswith("_NOT_ALLOWED")


def test_waiting_for_a_name_that_no_center_has_says_so(
    services: ScriptedServices, capsys: Capture
) -> None:
    refusal = make_refusal()
    refusal.centers[0].reason = "REGION_NOT_ALLOWED"
    services.script("CreateAllocation", dataclasses.replace(FULL, refusal=refusal), GRANTED)
    assert main(["allocate", "--gpus", "1", "--wait", "30s"]) == 0
    assert "no center is in the regions and centers asked for" in capsys.readouterr().err


def test_no_room_as_json_has_the_refusal(services: ScriptedServices, capsys: Capture) -> None:
    services.script("CreateAllocation", FULL)
    assert main(["allocate", "--gpus", "16", "--json"]) == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["retry_after_s"] == 0.1
    assert error["refusal"]["centers"][0]["missing"] == 2


def test_wait_asks_again_with_the_same_request_id(
    services: ScriptedServices, capsys: Capture
) -> None:
    unknown = Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN", retry_after_s=0.1)
    services.script("CreateAllocation", FULL, WARMING_UP, unknown, FULL, GRANTED)
    assert main(["allocate", "--gpus", "1", "--wait", "30s"]) == 0
    asked = services.requests["CreateAllocation"]
    assert len(asked) == 5
    assert all(each == asked[0] for each in asked)
    progress = capsys.readouterr().err.splitlines()
    assert "tj-1: DEVICES, 2 devices missing" in progress[0]
    assert "warming up" in progress[1]


def test_wait_tells_its_progress_as_json_lines(services: ScriptedServices, capsys: Capture) -> None:
    services.script("CreateAllocation", FULL, FULL, WARMING_UP, GRANTED)
    assert main(["allocate", "--gpus", "1", "--wait", "30s", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["allocation"]["id"] == "a-1"
    told = [json.loads(line)["waiting"] for line in captured.err.splitlines()]
    assert [each["reason"] for each in told] == ["NO_ROOM", "WARMING_UP"]
    assert told[0]["of_s"] == 30


def test_wait_ends_with_the_last_refusal(services: ScriptedServices) -> None:
    services.script("CreateAllocation", FULL)
    assert main(["allocate", "--gpus", "1", "--wait", "300ms"]) == 3
    assert len(services.requests["CreateAllocation"]) >= 2


def test_no_waiting_mends_a_malformed_request(services: ScriptedServices) -> None:
    services.script("CreateAllocation", Failure(Code.INVALID_ARGUMENT, "INVALID"))
    assert main(["allocate", "--gpus", "1", "--wait", "30s"]) == 2
    assert len(services.requests["CreateAllocation"]) == 1


def test_an_unknown_outcome_says_how_to_look(services: ScriptedServices, capsys: Capture) -> None:
    services.script("CreateAllocation", Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN", "unknown"))
    assert main(["allocate", "--gpus", "1", "--request-id", "r-7"]) == 1
    assert "--request-id r-7" in capsys.readouterr().err


def test_preview_shows_places_or_why_not(services: ScriptedServices, capsys: Capture) -> None:
    place = allocation_pb2.PreviewAllocationResponse(leases=[make_lease(node="n7")])
    services.script("PreviewAllocation", place)
    assert main(["preview", "--gpus", "1", "--tenant", "t"]) == 0
    assert "n7" in capsys.readouterr().out
    assert services.requests["PreviewAllocation"][0].tenant == "t"
    refused = allocation_pb2.PreviewAllocationResponse(refusal=make_refusal())
    services.script("PreviewAllocation", refused)
    assert main(["preview", "--gpus", "16"]) == 3
    assert "2 devices" in capsys.readouterr().out


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


def asking(services: ScriptedServices, time: Time) -> Asking:
    request = allocation_pb2.CreateAllocationRequest(request_id="r-1")
    client = PoolClient(services.endpoint)
    return Asking(client, request, 5.0, clock=time, sleep=time.sleep)


def test_pauses_follow_the_hints_and_back_off_without(services: ScriptedServices) -> None:
    time, pauses = Time(), list[Pause]()
    hinted = Failure(Code.UNAVAILABLE, "WARMING_UP", retry_after_s=0.75)
    unhinted = Failure(Code.UNAVAILABLE, "WARMING_UP")
    services.script("CreateAllocation", hinted, unhinted, unhinted, GRANTED)
    asking(services, time).until(60, pauses.append)
    # A hint is followed as it is; without one the pause doubles each time.
    assert time.slept == pytest.approx([0.75, 1.0, 1.0, 1.0])
    assert [pause.waited_s for pause in pauses] == pytest.approx([0, 0.75, 1.75, 2.75])


def test_the_last_attempt_is_made_when_patience_is_over(services: ScriptedServices) -> None:
    time = Time()
    services.script("CreateAllocation", Failure(Code.UNAVAILABLE, "W", retry_after_s=3600))
    with pytest.raises(errors.NotReadyError):
        asking(services, time).until(5, lambda _: None)
    assert sum(time.slept) == pytest.approx(5)
    assert len(services.requests["CreateAllocation"]) == 2


@pytest.mark.parametrize(
    ("script", "want"),
    [
        ([FULL], False),
        ([Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN")], True),
        ([Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN"), WARMING_UP], True),
        ([Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN"), FULL], False),
        ([WARMING_UP], False),
    ],
)
def test_it_is_known_whether_something_may_have_been_granted(
    services: ScriptedServices, script: list[Failure], want: bool
) -> None:
    asks = asking(services, Time())
    for step in script:
        services.script("CreateAllocation", step)
        with pytest.raises(errors.PoolError):
            asks.once()
    assert asks.maybe_granted is want


def test_ctrl_c_between_attempts_says_that_nothing_was_granted(services: ScriptedServices) -> None:
    services.script("CreateAllocation", Failure(Code.UNAVAILABLE, "WARMING_UP", retry_after_s=60))
    process = start("allocate", "--gpus", "1", "--wait", "1h", "--request-id", "r-9")
    assert process.stderr is not None
    assert "waiting" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "nothing was granted (request id r-9)" in stderr
    assert "Traceback" not in stderr


def test_ctrl_c_during_an_attempt_says_how_to_look(services: ScriptedServices) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(_request: object) -> object:
        asked.set()
        answer.wait(30)
        return GRANTED

    services.script("CreateAllocation", hang)
    process = start("allocate", "--gpus", "1", "--timeout", "30s", "--request-id", "r-9")
    assert asked.wait(30)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    answer.set()
    assert process.returncode == 130
    assert "may have been granted" in stderr
    assert "--request-id r-9" in stderr


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "computepool_client.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
