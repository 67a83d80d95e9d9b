"""Statuses, JSON, terminals: what all commands share, against a real server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import grpc
import pytest
import typer

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client.cli.main import build, main
from fakes.pool_messages import (
    make_allocation,
    make_center,
    make_model,
    make_refusal,
    make_view,
)
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]


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


def commands() -> list[str]:
    return list(typer.main.get_command(build()).commands)  # type: ignore[attr-defined]


def test_no_help_needs_grpc_or_tables_to_be_imported() -> None:
    code = (
        "import sys; from computepool_client.cli import main;"
        f"statuses = [main.main([*c, '--help']) for c in {[[], *([c] for c in commands())]}];"
        "slow = {'grpc', 'rich.live', 'rich.progress', 'computepool_client.cli.render', 'textual',"
        " 'computepool.v1', 'google.protobuf', 'psutil', 'asyncio'} & set(sys.modules);"
        "sys.exit(any(statuses) or (repr(slow) if slow else 0))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    for command in commands():
        assert f"computepool {command}" in ran.stdout


def test_version_is_told_by_a_flag_too(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert main(["version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second == f"computepool {version('computepool')} (computepool.v1)"


def test_no_arguments_are_answered_with_help(capsys: Capture) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "allocate" in captured.out + captured.err


def in_bash(line: str) -> list[str]:
    """What a bash without start-up files writes."""
    ran = subprocess.run(
        ["bash", "--norc", "-c", line],  # noqa: S607 - the bash of the path
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.splitlines()


def test_the_script_of_completion_is_sound_and_completes(tmp_path: Path) -> None:
    bin_ = Path(sys.executable).parent
    script = tmp_path / "completion.bash"
    # The shell that asks is the one that is found, so it must stay there meanwhile.
    asked = f"{bin_}/computepool --show-completion > {script}; exit $?"
    typed = (
        f"set -eu; export PATH={bin_}:$PATH; source {script}; complete -p computepool;"
        "COMP_WORDS=(computepool allo); COMP_CWORD=1; _computepool_completion computepool;"
        'echo "${COMPREPLY[@]}";'
        "COMP_WORDS=(computepool allocate --sp); COMP_CWORD=2; _computepool_completion computepool;"
        'echo "${COMPREPLY[@]}"'
    )
    assert in_bash(asked) == []
    complete, command, flag = in_bash(typed)
    assert complete.endswith("-F _computepool_completion computepool")
    assert (command, flag) == ("allocate", "--spread")


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


@pytest.mark.parametrize("given", [["agents"], ["agents", "--json"], ["--help"]])
def test_closed_streams_are_no_failure(services: ScriptedServices, given: list[str]) -> None:
    services.script("ListAgents", inventory_pb2.ListAgentsResponse())
    command = [sys.executable, "-m", "computepool_client.cli.main", *given]
    ran = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&- >&-', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr.strip() in ("", "No agents.")) == (0, True), ran.stderr


@pytest.mark.parametrize("given", [["agents"], ["agents", "--json"], ["--help"]])
def test_output_without_room_is_told_in_a_sentence(
    services: ScriptedServices, given: list[str]
) -> None:
    agent = inventory_pb2.Agent(name="agent-1")
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=[agent]))
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "computepool_client.cli.main", *given],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert "the output cannot be written: No space left on device" in ran.stderr
    assert "unforeseen" not in ran.stderr
    assert "Exception ignored" not in ran.stderr


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_of_no_width_is_one_that_nobody_knows(
    services: ScriptedServices, columns: str
) -> None:
    agent = inventory_pb2.Agent(name="agent-1")
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=[agent]))
    ran = subprocess.run(
        [sys.executable, "-m", "computepool_client.cli.main", "agents"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "COLUMNS": columns},
    )
    assert "agent-1" in ran.stdout


@pytest.mark.parametrize(
    ("field", "flag"),
    [
        ("spec.part.min_device_memory_mib", "--min-gpu-memory"),
        ("spec.part.resources.extras[nvme]", "--extra"),
        ("labels[a b]", "--label"),
        ("spec.node_labels", "--node-label"),
        ("request_id", "--request-id"),
        ("spec.part.unheard_of", "spec.part.unheard_of"),
    ],
)
def test_what_the_broker_does_not_take_is_named_by_its_flag(
    services: ScriptedServices, capsys: Capture, field: str, flag: str
) -> None:
    refused = Failure(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", f"{field}: too much", fields={field: "too much"}
    )
    services.script("CreateAllocation", refused)
    assert main(["allocate", "--gpus", "1"]) == 2
    assert capsys.readouterr().err == f"Error: {flag}: too much\n"
    assert main(["allocate", "--gpus", "1", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["fields"][0]["field"] == field


@pytest.mark.parametrize("command", ["allocate --gpus 1", "renew a-1"])
def test_a_time_to_live_out_of_range_is_told_with_the_range(capsys: Capture, command: str) -> None:
    assert main([*command.split(), "--ttl", "9s", "--json"]) == 2
    assert (
        "'9s' is out of range: 10s to 365d"
        in json.loads(capsys.readouterr().err)["error"]["message"]
    )
