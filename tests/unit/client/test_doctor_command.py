"""The command `doctor`, against a real server with scripted answers."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client.cli.doctor import redis
from computepool_client.cli.main import main
from fakes.pool_messages import make_center, make_model, make_view
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]


def make_agent(name: str = "a1", version: str = "") -> inventory_pb2.Agent:
    return inventory_pb2.Agent(
        name=name,
        version=version,
        state=inventory_pb2.AGENT_STATE_ACTIVE,
        last_sync_age_ms=4000,
    )


def script(services: ScriptedServices) -> None:
    services.script("GetView", make_view(make_center("tj-1", make_model())))
    agents = inventory_pb2.ListAgentsResponse(agents=[make_agent()])
    services.script("ListAgents", agents)
    services.script("ListAllocations", allocation_pb2.ListAllocationsResponse())
    services.script("ListCenters", inventory_pb2.ListCentersResponse())


def run(capsys: Capture, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    status = main(["doctor", "--json", *arguments])
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"] == (status == 0)
    return status, {each["check"]: each for each in found["findings"]}


def test_all_in_order_ends_with_0(services: ScriptedServices, capsys: Capture) -> None:
    script(services)
    status, found = run(capsys)
    assert status == 0
    assert found["broker"]["verdict"] == "OK"
    assert found["silent-agents"]["group"] == "pool"
    assert found["python"]["group"] == "machine"


def test_in_words_each_has_its_verdict_and_what_to_do(
    services: ScriptedServices, capsys: Capture
) -> None:
    script(services)
    services.script("GetView", make_view(make_center("tj-1", make_model(), cordoned=True)))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("  WARN cordons: 1 center cordoned: tj-1")
    assert lines[at + 1].strip().startswith("when the work is done: computepool uncordon")
    assert lines[-1].endswith("0 FAIL.")


def test_what_needs_several_lines_stays_beside_its_verdict(
    services: ScriptedServices, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(services)
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["doctor"]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert len(line) <= 40 or " " not in line[9:], line
        begins = line.startswith(("  OK   ", "  WARN ", "  FAIL ", "       "))
        heading = not line.startswith(" ")
        assert begins or heading, line
        assert line == line.rstrip()


def test_no_broker_at_all_fails_and_this_machine_is_looked_at_nevertheless(
    capsys: Capture,
) -> None:
    status, found = run(capsys, "--endpoint", "127.0.0.1:1")
    assert status == 1
    assert found["connect"]["verdict"] == "FAIL"
    assert "computepool up" in found["connect"]["todo"]
    assert "health" not in found
    assert "python" in found


def test_a_name_without_address_fails(capsys: Capture) -> None:
    status, found = run(capsys, "--endpoint", "no-such-host.invalid:7600")
    assert (status, found["resolve"]["verdict"]) == (1, "FAIL")


def test_what_connects_but_does_not_speak_grpc_fails(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        status, found = run(capsys, "--endpoint", f"127.0.0.1:{port}", "--timeout", "500ms")
    assert (status, found["broker"]["verdict"]) == (1, "FAIL")


def test_another_grpc_server_is_told_from_a_broker(
    services: ScriptedServices, capsys: Capture
) -> None:
    status, found = run(capsys)  # nothing is scripted: all calls are unknown
    assert status == 1
    assert "no computepool broker" in found["broker"]["what"]


def test_an_older_broker_is_told_by_a_call_that_it_lacks(
    services: ScriptedServices, capsys: Capture
) -> None:
    script(services)
    services.script("ListCenters", Failure(Code.UNIMPLEMENTED))
    status, found = run(capsys)
    assert status == 0
    assert "older" in found["versions"]["what"]


def test_a_newer_broker_is_told_by_fields_that_nobody_here_knows(
    services: ScriptedServices, capsys: Capture
) -> None:
    script(services)
    known = make_view(make_center("tj-1", make_model())).SerializeToString()
    newer = inventory_pb2.GetViewResponse.FromString(known + b"\xa2\x06\x01x")  # field 100
    services.script("GetView", newer)
    _, found = run(capsys)
    assert "newer" in found["versions"]["what"]


def test_agents_of_another_version_are_told(services: ScriptedServices, capsys: Capture) -> None:
    script(services)
    agents = [make_agent("a", version="0.0.9"), make_agent("b", version="0.0.9")]
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=agents))
    _, found = run(capsys)
    assert found["versions"]["verdict"] == "WARN"
    assert "2 agents not of" in found["versions"]["what"]


def test_a_bad_config_file_is_a_finding_and_not_the_end(
    services: ScriptedServices,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script(services)
    file = tmp_path / "config.toml"
    file.write_text('endpont = "x:1"\n')
    monkeypatch.setenv("COMPUTEPOOL_CLIENT_CONFIG", str(file))
    status, found = run(capsys)
    assert (status, found["config-file"]["verdict"]) == (1, "FAIL")
    assert "line 1" in found["config-file"]["what"]
    monkeypatch.setenv("COMPUTEPOOL_ENDPOINT", "nonsense")
    status, found = run(capsys, "--timeout", "1s")
    assert (status, found["settings"]["verdict"]) == (1, "FAIL")


def test_an_embedded_store_is_looked_at_as_a_folder(
    services: ScriptedServices, capsys: Capture, tmp_path: Path
) -> None:
    script(services)
    status, found = run(capsys, "--store", f"embedded:{tmp_path}")
    assert status == 0
    assert found["state-dir"]["verdict"] == "OK"
    assert main(["doctor", "--store", "postgres://x"]) == 2


def test_every_check_is_in_the_documentation(
    services: ScriptedServices, capsys: Capture, tmp_path: Path
) -> None:
    script(services)
    _, found = run(capsys, "--store", f"embedded:{tmp_path}")
    text = (Path(__file__).parents[3] / "docs" / "command.md").read_text()
    named_there = set(re.findall(r"`([a-z-]+)`", text))
    assert set(found) | {each.check for each in redis.judge("r", {}, {})} <= named_there
