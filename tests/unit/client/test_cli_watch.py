"""Calls that last, as they are told: changes, drains, and connections that break."""

import json
from collections.abc import Callable, Iterator

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client import errors
from computepool_client.cli import lasting
from computepool_client.cli.lasting import Lasting
from computepool_client.cli.main import main
from fakes.pool_messages import make_allocation
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]
EXISTING = allocation_pb2.ALLOCATION_EVENT_KIND_EXISTING
CHANGED = allocation_pb2.ALLOCATION_EVENT_KIND_CHANGED


def told(
    *allocations: allocation_pb2.Allocation,
    kind: allocation_pb2.AllocationEventKind = CHANGED,
    at: str = "t",
    synced: bool = True,
) -> allocation_pb2.WatchAllocationsResponse:
    events = [allocation_pb2.AllocationEvent(kind=kind, allocation=each) for each in allocations]
    return allocation_pb2.WatchAllocationsResponse(events=events, resume_token=at, synced=synced)


def holding(leases: int, at_start: int = 2) -> inventory_pb2.DrainResponse:
    holders = [
        inventory_pb2.DrainHolder(
            allocation_id=f"a-{i}", tenant="t", node="n-1", remaining_ttl_ms=90_000_000
        )
        for i in range(leases)
    ]
    return inventory_pb2.DrainResponse(leases=leases, leases_at_start=at_start, holders=holders)


def stream(*answers: object) -> Callable[[object], Iterator[object]]:
    """A stream that gives these answers and ends."""
    return lambda _request: iter(answers)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "_PAUSE_S", 0.01)


GONE = Failure(Code.UNAVAILABLE, "STOPPING", "it stops")
UNKNOWN = Failure(Code.NOT_FOUND, "UNKNOWN_CENTER", "no center c-1")


def test_watch_tells_what_is_there_then_what_changes_each_once(
    services: ScriptedServices, capsys: Capture
) -> None:
    released = make_allocation(
        state=allocation_pb2.ALLOCATION_STATE_RELEASING, end=allocation_pb2.END_REASON_RELEASED
    )
    ended = make_allocation(id_="a-0", state=allocation_pb2.ALLOCATION_STATE_ENDED)
    answers = (
        told(ended, make_allocation(), kind=EXISTING),
        told(make_allocation()),
        told(released),
    )
    services.script("WatchAllocations", stream(*answers), UNKNOWN)
    assert main(["watch", "--filter", 'tenant = "default"']) == 4
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    assert [line[1:3] for line in lines] == [["a-1", "ACTIVE"], ["a-1", "RELEASING"]]
    assert lines[0][0] == "--:--:--"
    assert lines[1][-1] == "(RELEASED)"
    assert captured.err.count("That is what there is; changes follow.") == 1
    assert services.requests["WatchAllocations"][0].filter == 'tenant = "default"'


def test_watch_goes_on_after_the_last_message_when_the_connection_breaks(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script(
        "WatchAllocations",
        stream(told(make_allocation(), at="t-1")),
        GONE,
        GONE,
        stream(told(make_allocation(id_="a-2"), at="t-2")),
        UNKNOWN,
    )
    assert main(["watch", "-o", "name", "--changes-only"]) == 4
    captured = capsys.readouterr()
    assert captured.out.split() == ["a-1", "a-2"]
    assert captured.err.count("asking again until it answers") == 2
    tokens = [each.resume_token for each in services.requests["WatchAllocations"]]
    assert tokens == ["", "t-1", "t-1", "t-1", "t-2"]


def test_watch_says_when_changes_were_missed(services: ScriptedServices, capsys: Capture) -> None:
    expired = Failure(Code.FAILED_PRECONDITION, "RESUME_TOKEN_EXPIRED", "too long ago")
    services.script(
        "WatchAllocations", stream(told(at="t-1")), expired, stream(told(at="t-2")), UNKNOWN
    )
    assert main(["watch", "--changes-only", "-o", "name"]) == 4
    assert "too long ago: some changes were missed" in capsys.readouterr().err
    third = services.requests["WatchAllocations"][2]
    assert (third.resume_token, third.changes_only) == ("", False)


def test_a_token_of_the_caller_that_has_expired_is_an_error(services: ScriptedServices) -> None:
    expired = Failure(Code.FAILED_PRECONDITION, "RESUME_TOKEN_EXPIRED", "too long ago")
    services.script("WatchAllocations", expired)
    assert main(["watch", "--resume-token", "old"]) == 6
    assert main(["watch", "--resume-token", "old", "--changes-only"]) == 2


def test_a_broker_that_was_never_there_is_not_waited_for(services: ScriptedServices) -> None:
    services.script("WatchAllocations", GONE)
    services.script("Drain", GONE)
    assert main(["watch"]) == 5
    assert main(["drain", "--center", "c-1"]) == 5


def test_watch_as_json_has_a_line_for_each_message(
    services: ScriptedServices, capsys: Capture
) -> None:
    answers = (told(make_allocation(), at="t-1"), told(at="t-2"))
    services.script("WatchAllocations", stream(*answers), UNKNOWN)
    assert main(["watch", "--json"]) == 4
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["resume_token"] for each in found] == ["t-1", "t-2"]


def test_drain_tells_each_change_and_that_the_cordon_stays(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("Drain", stream(holding(2), holding(2), holding(1), holding(0)))
    assert main(["drain", "--center", "c-1", "--message", "cooling"]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if "center c-1" in line]
    assert said[:2] == [
        "center c-1 is cordoned; 2 leases are still there.",
        "center c-1 is cordoned; 1 lease is still there.",
    ]
    assert said[2].startswith("Drained center c-1: no lease is left there. It stays cordoned")
    assert said[2].endswith("computepool uncordon --center c-1")
    assert sum(line.startswith("a-1 ") and "in 1d 1h" in line for line in lines) == 1
    asked = services.requests["Drain"][0]
    assert asked == inventory_pb2.DrainRequest(center="c-1", message="cooling")


def test_drain_of_what_is_empty_is_done_at_once(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("Drain", stream(holding(0, at_start=0)))
    assert main(["drain", "--node", "n 1"]) == 0
    assert "computepool uncordon --node 'n 1'" in capsys.readouterr().out
    assert main(["drain", "--node", "n 1", "-o", "name"]) == 0
    assert capsys.readouterr().out == ""


def test_drain_goes_on_and_counts_from_its_own_start(
    services: ScriptedServices, capsys: Capture
) -> None:
    later = stream(holding(1, at_start=1), holding(0, at_start=1))
    services.script("Drain", stream(holding(2)), GONE, later)
    assert main(["drain", "--center", "c-1", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["leases"], each["leases_at_start"]) for each in found] == [(2, 2), (1, 2), (0, 2)]


@pytest.mark.parametrize("given", ["", "--node n --center c"])
def test_drain_takes_exactly_one_target(services: ScriptedServices, given: str) -> None:
    assert main(["drain", *given.split()]) == 2
    assert not services.requests


def test_what_lasts_knows_how_long_it_may() -> None:
    for_ever = Lasting(0)
    assert (for_ever.left_s(), for_ever.is_over()) == (None, False)
    over = Lasting(1e-9)
    left_s = over.left_s()
    assert over.is_over()
    assert left_s is not None
    assert left_s > 0  # a call without any time left would be refused unsent
    with pytest.raises(errors.UnreachableError):
        for_ever.broke(errors.UnreachableError("nobody"))
