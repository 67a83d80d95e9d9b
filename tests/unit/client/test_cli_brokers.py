"""The command with several brokers: which one is asked, what they are, how they stand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2, types_pb2
from computepool_client import errors
from computepool_client.cli.doctor import brokers as doctor_of
from computepool_client.cli.doctor.seen import Look, Seen
from computepool_client.cli.main import main
from computepool_client.client import PoolClient
from fakes.pool_messages import make_allocation, make_center, make_view
from fakes.scripted_services import Failure, ScriptedServices

if TYPE_CHECKING:
    from collections.abc import Iterator

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]
NOWHERE = "127.0.0.1:1"
STOPPING = Failure(Code.UNAVAILABLE, "STOPPING", "it stops")


@pytest.fixture
def other() -> Iterator[ScriptedServices]:
    with ScriptedServices() as running:
        yield running


def mark(revision: int, epoch: int = 1, identity: str = "s") -> types_pb2.StoreMark:
    return types_pb2.StoreMark(identity=identity, epoch=epoch, revision=revision)


def listed(
    *brokers: inventory_pb2.Broker, at: types_pb2.StoreMark | None = None
) -> inventory_pb2.ListBrokersResponse:
    return inventory_pb2.ListBrokersResponse(brokers=brokers, mark=at or mark(1_000))


def broker(name: str = "b-1", **facts: object) -> inventory_pb2.Broker:
    wanted = {"address": "10.0.0.1:7600", "version": "0.3.0", "revision": 1_000} | facts
    return inventory_pb2.Broker(name=name, **wanted)  # type: ignore[arg-type]


TWO = listed(
    broker(chores=True, agents=12, uptime_ms=7_200_000),
    broker("b-2", address="10.0.0.2:7600", beat_age_ms=1_500, revision=997),
)


def test_brokers_are_listed_with_who_does_the_chores_and_who_is_behind(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("ListBrokers", TWO)
    assert main(["brokers"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["b-1", "10.0.0.1:7600", "0s", "2h", "12", "yes", "1,000", "0", "0.3.0"] in rows
    assert ["b-2", "10.0.0.2:7600", "1s", "0s", "0", "-", "997", "3", "0.3.0"] in rows


def test_brokers_for_programs(services: ScriptedServices, capsys: Capture) -> None:
    services.script("ListBrokers", TWO)
    assert main(["brokers", "-o", "name"]) == 0
    assert capsys.readouterr().out == "b-1\nb-2\n"
    assert main(["brokers", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["chores"] for each in found["brokers"]] == [True, False]
    assert found["mark"] == {"identity": "s", "epoch": 1, "revision": 1_000}


def test_agents_show_whose_they_are(services: ScriptedServices, capsys: Capture) -> None:
    agents = [inventory_pb2.Agent(name="a-1", broker="b-2"), inventory_pb2.Agent(name="a-2")]
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=agents))
    assert main(["agents", "-o", "wide"]) == 0
    head, *_, one, two = capsys.readouterr().out.splitlines()
    assert "broker" in head or "broker" in _[0]
    assert "b-2" in one
    assert "b-2" not in two


@pytest.mark.parametrize("first", [NOWHERE, "stopping"])
def test_the_next_broker_is_asked_where_one_does_not_serve(
    services: ScriptedServices, other: ScriptedServices, first: str, capsys: Capture
) -> None:
    other.script("ListBrokers", STOPPING)
    services.script("ListBrokers", TWO)
    endpoint = f"{other.endpoint if first == 'stopping' else first}, {services.endpoint}"
    assert main(["brokers", "--endpoint", endpoint, "-o", "name"]) == 0
    assert capsys.readouterr().out == "b-1\nb-2\n"


def test_the_environment_and_the_file_may_name_several(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.script("ListBrokers", TWO)
    monkeypatch.setenv("COMPUTEPOOL_ENDPOINT", f"{NOWHERE},dns:///{services.endpoint}")
    assert main(["brokers"]) == 0
    monkeypatch.setenv("COMPUTEPOOL_ENDPOINT", f"{NOWHERE},nonsense")
    assert main(["brokers"]) == 2


def test_all_that_do_not_answer_are_named(capsys: Capture) -> None:
    assert main(["view", "--endpoint", f"{NOWHERE},127.0.0.1:2"]) == 5
    assert "no broker answers at 127.0.0.1:1, 127.0.0.1:2" in capsys.readouterr().err


def test_what_may_have_been_done_is_not_asked_of_another(
    services: ScriptedServices, other: ScriptedServices
) -> None:
    other.script("CreateAllocation", Failure(Code.UNKNOWN, "OUTCOME_UNKNOWN"))
    both = f"{other.endpoint},{services.endpoint}"
    with PoolClient(both) as pool, pytest.raises(errors.OutcomeUnknownError):
        pool.create(allocation_pb2.CreateAllocationRequest())
    assert not services.requests["CreateAllocation"]


def test_the_one_that_answered_is_asked_first_from_then_on(
    services: ScriptedServices, other: ScriptedServices
) -> None:
    other.script("GetView", STOPPING)
    services.script("GetView", make_view(make_center("tj-1")))
    with PoolClient(f"{other.endpoint},{services.endpoint}") as pool:
        pool.view()
        pool.view()
        assert pool.endpoint == services.endpoint
    assert len(other.requests["GetView"]) == 1


def test_a_stream_begins_at_the_next_broker_too(
    services: ScriptedServices, other: ScriptedServices
) -> None:
    told = allocation_pb2.WatchAllocationsResponse(revision=7, synced=True)
    other.script("WatchAllocations", lambda _: iter(()))
    services.script("WatchAllocations", lambda _: iter((told,)))
    with PoolClient(f"{NOWHERE},{services.endpoint},{other.endpoint}") as pool:
        assert [each.revision for each in pool.watch_allocations()] == [7]


def test_an_allocation_that_the_store_lost_is_told_as_gone(
    services: ScriptedServices, capsys: Capture
) -> None:
    event = allocation_pb2.AllocationEvent(
        kind=allocation_pb2.ALLOCATION_EVENT_KIND_GONE, allocation=make_allocation()
    )
    answer = allocation_pb2.WatchAllocationsResponse(events=[event], synced=True)
    services.script("WatchAllocations", lambda _: iter((answer,)), Failure(Code.INTERNAL, "END"))
    assert main(["watch"]) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert "a-1  GONE " in line
    assert "the store has lost it" in line


# -- doctor -----------------------------------------------------------------------------------


def serve(services: ScriptedServices, answer: inventory_pb2.ListBrokersResponse) -> None:
    services.script("GetView", make_view(make_center("tj-1")))
    agent = inventory_pb2.Agent(name="a", state=inventory_pb2.AGENT_STATE_ACTIVE)
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=[agent]))
    services.script("ListAllocations", allocation_pb2.ListAllocationsResponse())
    services.script("ListCenters", inventory_pb2.ListCentersResponse())
    services.script("ListBrokers", answer)


def doctor(capsys: Capture, *endpoints: str) -> tuple[int, dict[str, dict[str, str]]]:
    status = main(["doctor", "--json", "--endpoint", ",".join(endpoints)])
    found = json.loads(capsys.readouterr().out)["findings"]
    return status, {f"{each['check']} {each['verdict']}": each for each in found}


def test_doctor_looks_at_each_endpoint(
    services: ScriptedServices, other: ScriptedServices, capsys: Capture
) -> None:
    serve(services, TWO)
    serve(other, TWO)
    status, found = doctor(capsys, services.endpoint, other.endpoint)
    assert status == 0
    assert {"brokers OK", "chores OK", "apart OK"} <= set(found)
    assert main(["doctor", "--endpoint", f"{services.endpoint},{other.endpoint}"]) == 0
    assert "Way to the brokers at" in capsys.readouterr().out


def test_doctor_warns_of_one_endpoint_and_fails_without_any(
    services: ScriptedServices, capsys: Capture
) -> None:
    serve(services, TWO)
    status, found = doctor(capsys, NOWHERE, services.endpoint)
    assert status == 0
    assert NOWHERE in found["connect WARN"]["what"]
    assert "health OK" in found
    status, found = doctor(capsys, NOWHERE, "127.0.0.1:2")
    assert (status, "connect FAIL" in found) == (1, True)


def test_doctor_tells_an_old_broker_among_several(
    services: ScriptedServices, other: ScriptedServices, capsys: Capture
) -> None:
    serve(services, TWO)
    serve(other, TWO)
    other.script("ListBrokers", Failure(Code.UNIMPLEMENTED))
    _, found = doctor(capsys, services.endpoint, other.endpoint)
    assert other.endpoint in found["broker WARN"]["what"]


def judged(*marks: types_pb2.StoreMark, of: inventory_pb2.ListBrokersResponse = TWO) -> list[str]:
    answers = [listed(*of.brokers, at=each) for each in marks]
    looks = [Look(f"e{i % (len(marks) - 1)}", each) for i, each in enumerate(answers)]
    found = doctor_of.judge(Seen(looks=looks))
    return [f"{each.verdict} {each.check} {each.what}" for each in found]


def test_views_that_are_together() -> None:
    found = judged(mark(10), mark(12), mark(12))
    assert found[2] == "OK apart the brokers' views are together (revisions 10, 12)"


def test_a_view_that_is_behind_is_told_by_how_many_commits() -> None:
    found = judged(mark(10), mark(4), mark(12))
    assert found[2] == "WARN apart behind the others: e1 by 6 commits (revisions 10, 4)"
    found = judged(mark(10), mark(30), mark(11))
    assert "e0 by 19 commits" in found[2]


def test_brokers_of_two_pools_or_epochs_are_told() -> None:
    assert judged(mark(1), mark(1, identity="x"), mark(1))[2].startswith("FAIL apart e0 and e1")
    assert "epoch (e0: 1, e1: 2)" in judged(mark(1), mark(1, epoch=2), mark(1))[2]


def test_silent_brokers_and_chores_that_nobody_or_two_do_are_told() -> None:
    silent = listed(broker(chores=True), broker("b-2", beat_age_ms=9_000, chores=True))
    brokers, chores, _ = judged(mark(1), mark(1), of=silent)
    assert brokers == "WARN brokers 1 broker silent: b-2 at 10.0.0.1:7600 (9s)"
    assert chores == "WARN chores 2 brokers do the chores: b-1, b-2"
    assert judged(mark(1), mark(1), of=listed(broker()))[1].startswith("WARN chores no broker")
    assert doctor_of.judge(Seen()) == []
