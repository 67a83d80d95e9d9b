"""The command in process, against a real server with scripted answers."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2, types_pb2
from computepool_client.cli.grants import export_lines
from computepool_client.cli.main import main
from fakes.pool_messages import (
    make_allocation,
    make_center,
    make_lease,
    make_model,
    make_refusal,
    make_view,
)
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServices]:
    with ScriptedServices() as running:
        monkeypatch.setenv("COMPUTEPOOL_ENDPOINT", running.endpoint)
        yield running


def test_view_shows_the_tree_in_devices_and_p(services: ScriptedServices, capsys: Capture) -> None:
    model = make_model("A100", 1200, foreign=1000, granted=150, in_flight=2)
    services.script("GetView", make_view(make_center("tj-1", model), allocations=3))
    assert main(["view"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    a100 = ["1,200", "-", "1,000", "150", "2", "-", "50", "-", "374.4", "95.8"]
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
    closed = inventory_pb2.Node(name="n1", center="c", blockers=["CORDONED", "SUSPECT"])
    services.script("ListNodes", inventory_pb2.ListNodesResponse(nodes=[open_, closed]))
    assert main(["nodes"]) == 0
    out = capsys.readouterr().out
    assert "A100 1.75/3" in out
    assert "CORDONED SUSPECT" in out


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


@pytest.mark.parametrize(
    ("failure", "want"),
    [
        (Failure(Code.INVALID_ARGUMENT, "INVALID"), 2),
        (Failure(Code.RESOURCE_EXHAUSTED, "NO_ROOM", refusal=make_refusal()), 3),
        (Failure(Code.NOT_FOUND, "UNKNOWN_ALLOCATION"), 4),
        (Failure(Code.UNAVAILABLE, "WARMING_UP", retry_after_s=3), 5),
        (Failure(Code.FAILED_PRECONDITION, "LEASE_ENDED"), 6),
        (Failure(Code.INTERNAL, "INTERNAL"), 1),
    ],
)
def test_the_status_says_what_kind_of_failure_it_was(
    services: ScriptedServices, capsys: Capture, failure: Failure, want: int
) -> None:
    services.script("RenewAllocation", failure)
    assert main(["renew", "a-1"]) == want
    in_words = capsys.readouterr()
    assert in_words.out == ""
    assert in_words.err
    assert main(["renew", "a-1", "--json"]) == want
    as_json = capsys.readouterr()
    assert as_json.out == ""
    error = json.loads(as_json.err)["error"]
    assert (error["reason"], error["exit_status"]) == (failure.reason, want)


def test_usage_errors_are_json_too(capsys: Capture) -> None:
    assert main(["view", "--json", "--depth", "rack"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["reason"] == "USAGE"


@pytest.mark.parametrize(
    "endpoint", ["7600", "host", ":7600", "host:0", "host:65536", "::1:7600", "http://host:7600"]
)
def test_what_is_no_endpoint_is_wrong_usage(endpoint: str, capsys: Capture) -> None:
    assert main(["agents", "--endpoint", endpoint]) == 2
    assert "no endpoint" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_text_from_outside_cannot_steer_the_terminal(
    services: ScriptedServices, capsys: Capture
) -> None:
    agent = inventory_pb2.Agent(name="\x1b[31mred[/]", center="[bold]c\nd")
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=[agent]))
    assert main(["agents"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]c\ufffdd" in out


def test_json_has_every_field_with_numbers_as_numbers(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("GetView", make_view(make_center("tj-1", make_model()), grants_total=7))
    assert main(["view", "--json"]) == 0
    view = json.loads(capsys.readouterr().out)
    assert set(view) == {field.name for field in inventory_pb2.GetViewResponse.DESCRIPTOR.fields}
    assert view["grants_total"] == 7
    assert view["state"] == "POOL_STATE_READY"
    assert view["mark"] is None
    assert view["regions"][0]["centers"][0]["models"][0]["devices"]["total"] == 8000


def test_json_of_an_allocation_has_times_and_maps(
    services: ScriptedServices, capsys: Capture
) -> None:
    allocation = make_allocation()
    allocation.labels["team"] = "vision"
    allocation.create_time.FromJsonString("2026-01-02T03:04:05Z")
    services.script("GetAllocation", allocation_pb2.GetAllocationResponse(allocation=allocation))
    assert main(["get", "a-1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["allocation"]
    assert found["create_time"] == "2026-01-02T03:04:05Z"
    assert found["labels"] == {"team": "vision"}
    assert found["leases"][0]["devices"] == [{"device_id": "GPU-a", "milli": 1000}]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_of_a_table_is_wider_than_the_terminal(
    services: ScriptedServices, capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    model = make_model("Ascend-910B", 128_000, foreign=110_000, granted=12_345, in_flight=1234)
    model.devices.releasing, model.devices.overcommit = 1_234_000, 12_000
    view = make_view(make_center("zhangjiakou-huailai-27", model, make_model()))
    services.script("GetView", view)
    assert main(["view", "--depth", "model"]) == 0
    out = capsys.readouterr().out
    table = out[: out.index("P at fp16")].splitlines()
    assert max(len(line.rstrip()) for line in table) <= width
    for number in ("128,008", "12,345", "1,234", "12", "5,663"):
        assert number in out  # no number is cut


def test_help_needs_neither_grpc_nor_tables_to_be_imported() -> None:
    code = (
        "import sys; from computepool_client.cli import main; status = main.main(['--help']);"
        "slow = {'grpc', 'rich.live', 'computepool.v1', 'google.protobuf'} & set(sys.modules);"
        "sys.exit(status or (repr(slow) if slow else 0))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "allocate" in ran.stdout


def test_a_reader_that_goes_away_is_no_traceback(services: ScriptedServices) -> None:
    agents = [inventory_pb2.Agent(name=f"agent-{i}") for i in range(5000)]
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=agents))
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "computepool_client.cli.main", "agents"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    os.close(write)
    os.read(read, 100)
    os.close(read)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (1, "")


@pytest.mark.parametrize(("given", "want"), [([], "??"), (["--json"], "\\u5317\\u4eac")])
def test_a_terminal_without_the_characters_is_no_failure(
    services: ScriptedServices, given: list[str], want: str
) -> None:
    allocation = make_allocation()
    allocation.description = "\u5317\u4eac"
    services.script("GetAllocation", allocation_pb2.GetAllocationResponse(allocation=allocation))
    ran = subprocess.run(
        [sys.executable, "-m", "computepool_client.cli.main", "get", "a-1", *given],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert want in ran.stdout


def test_colours_only_on_a_terminal(services: ScriptedServices) -> None:
    agent = inventory_pb2.Agent(name="a", state=inventory_pb2.AGENT_STATE_ACTIVE)
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=[agent]))
    assert "\x1b[32m" in _on_a_terminal({})
    assert "\x1b[32m" not in _on_a_terminal({"NO_COLOR": "1"})


def _on_a_terminal(environment: dict[str, str]) -> str:
    """What `agents` writes when its output is a terminal."""
    ours, theirs = os.openpty()
    base = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "computepool_client.cli.main", "agents"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**base, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    read = _reader(ours)
    written = "".join(iter(read, ""))
    os.close(ours)
    assert process.wait(60) == 0
    return written


def _reader(file: int) -> Callable[[], str]:
    def read() -> str:
        try:
            return os.read(file, 65536).decode()
        except OSError:  # how a terminal says that the other side is closed
            return ""

    return read
