"""The commands that look at the pool, in process, against a real server with scripted answers."""

import io
import json
import sys

import grpc
import pytest

from computepool.v1 import inventory_pb2, types_pb2
from computepool_client.cli.main import main
from fakes.pool_messages import (
    make_center,
    make_model,
    make_view,
)
from fakes.scripted_services import ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]


def test_view_shows_the_tree_in_devices_and_p(services: ScriptedServices, capsys: Capture) -> None:
    model = make_model("A100", 1200, foreign=1000, granted=150, in_flight=2)
    services.script("GetView", make_view(make_center("tj-1", model), allocations=3))
    assert main(["view"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    a100 = ["1,200", "-", "1,000", "150", "2", "-", "50", "50", "-", "374.4", "95.8"]
    assert ["A100", *a100] in lines
    assert ["tj-1", *a100, "4s"] in lines
    assert ["tianjin", "(support)", *a100, "4s"] in lines
    assert ["all", *a100, "4s"] in lines
    assert [
        "P",
        "at",
        "fp16:",
        "374.4",
        "in",
        "all,",
        "312",
        "foreign,",
        "46.8",
        "granted,",
        "15.6",
        "left",
    ] in lines


def test_view_shows_cores_where_there_are_no_devices(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("GetView", make_view(make_center("local", cores=2), region="home"))
    assert main(["view"]) == 0
    assert "  local, in cores" in capsys.readouterr().out


def test_view_says_what_an_operator_must_see(services: ScriptedServices, capsys: Capture) -> None:
    center = make_center("tj-1", make_model("X9", gflops_each=0), agents=2, cordoned=True)
    view = make_view(center, mass_silence=True, audit_findings=2)
    view.state = inventory_pb2.POOL_STATE_WARMING_UP
    services.script("GetView", view)
    assert main(["view"]) == 0
    out = capsys.readouterr().out
    for want in (
        "tj-1: cordoned",
        "tj-1: 1 of 2 agents active",
        "1 of 2 agents not active",
        "tj-1: unknown model counts 0 P: X9",
        "WARMING UP",
        "MASS SILENCE",
        "2 findings",
    ):
        assert want in out


def test_view_of_an_unknown_center_is_not_found(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("GetView", make_view(make_center("tj-1")))
    assert main(["view", "--center", "tj-9"]) == 4
    assert "knows no center 'tj-9'" in capsys.readouterr().err


def test_view_asks_for_the_precision(services: ScriptedServices) -> None:
    services.script("GetView", make_view())
    assert main(["view", "--precision", "fp8"]) == 0
    assert services.requests["GetView"][0].precision == "fp8"
    assert main(["view", "--precision", "fp7"]) == 2


def test_nodes_pages_itself_and_stops_at_the_limit(
    services: ScriptedServices, capsys: Capture
) -> None:
    def page(request: inventory_pb2.ListNodesRequest) -> inventory_pb2.ListNodesResponse:
        start = int(request.page_token or 0)
        nodes = [inventory_pb2.Node(name=f"n{start + i}") for i in range(2)]
        return inventory_pb2.ListNodesResponse(nodes=nodes, next_page_token=str(start + 2))

    services.script("ListNodes", page)
    assert main(["nodes", "--limit", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [node["name"] for node in found["nodes"]] == ["n0", "n1", "n2"]
    assert found["more"] is True


def test_nodes_show_free_devices_of_those_that_work(
    services: ScriptedServices, capsys: Capture
) -> None:
    def device(granted: int = 0, foreign: int = 0, **others: bool) -> inventory_pb2.NodeDevice:
        made = types_pb2.Device(id="x", model="A100", foreign_milli=foreign)
        return inventory_pb2.NodeDevice(device=made, granted_milli=granted, **others)

    devices = [device(), device(granted=250), device(foreign=1000), device(gone=True)]
    devices.append(device())
    devices[-1].device.health = types_pb2.DEVICE_HEALTH_UNHEALTHY
    open_ = inventory_pb2.Node(name="n0", center="c", devices=devices, schedulable=True)
    closed = inventory_pb2.Node(name="n1", center="c", blockers=["AGENT_NOT_ACTIVE", "SUSPECT"])
    services.script("ListNodes", inventory_pb2.ListNodesResponse(nodes=[open_, closed]))
    assert main(["nodes"]) == 0
    out = capsys.readouterr().out
    assert "A100 1.75/3" in out
    assert "silent, suspect" in out


def test_agents_show_state_and_last_refusal(services: ScriptedServices, capsys: Capture) -> None:
    agent = inventory_pb2.Agent(
        name="zjk-1",
        center="zjk-1",
        state=inventory_pb2.AGENT_STATE_DISCONNECTED,
        refusals=3,
        last_refusal="DOES_NOT_FIT",
        last_sync_age_ms=41_000,
    )
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=[agent]))
    assert main(["agents"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:4] == ["zjk-1", "zjk-1", "DISCONNECTED", "41s"]
    assert "3 (last: DOES_NOT_FIT)" in " ".join(row)


def test_forget_needs_yes_where_nobody_can_be_asked(
    services: ScriptedServices, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    services.script(
        "ForgetAgent", inventory_pb2.ForgetAgentResponse(nodes_removed=7, allocations_lost=1)
    )
    assert main(["forget", "zjk-1"]) == 2
    assert not services.requests["ForgetAgent"]
    assert main(["forget", "zjk-1", "--yes"]) == 0
    assert "7 nodes left the view, 1 allocation ended" in capsys.readouterr().out
    assert services.requests["ForgetAgent"][0].agent == "zjk-1"


def test_cordon_names_a_node_or_a_center(services: ScriptedServices, capsys: Capture) -> None:
    one, two = inventory_pb2.CordonResponse(leases=1), inventory_pb2.CordonResponse(leases=2)
    services.script("Cordon", two, one)
    services.script("Uncordon", inventory_pb2.UncordonResponse())
    assert main(["cordon", "--node", "n1", "--message", "fans"]) == 0
    assert "2 leases are still there" in capsys.readouterr().out
    assert main(["cordon", "--center", "tj-1"]) == 0
    assert "1 lease is still there" in capsys.readouterr().out
    assert main(["uncordon", "--center", "tj-1"]) == 0
    assert services.requests["Cordon"][0] == inventory_pb2.CordonRequest(node="n1", message="fans")
    assert services.requests["Uncordon"][0].center == "tj-1"


@pytest.mark.parametrize("given", [["cordon"], ["uncordon", "--node", "n", "--center", "c"]])
def test_cordon_takes_exactly_one_target(given: list[str], services: ScriptedServices) -> None:
    assert main(given) == 2


def test_audit_ends_with_6_when_there_are_findings(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("AuditPool", inventory_pb2.AuditPoolResponse(nodes=5, leases=2))
    assert main(["audit"]) == 0
    assert "Clean: 5 nodes and 2 leases" in capsys.readouterr().out
    finding = inventory_pb2.Finding(
        kind=inventory_pb2.FINDING_KIND_PHANTOM, node="n1", lease_id="a.0.0", message="not held"
    )
    services.script("AuditPool", inventory_pb2.AuditPoolResponse(findings=[finding]))
    assert main(["audit"]) == 6
    assert "PHANTOM" in capsys.readouterr().out
