"""The parts of `computepool up`: the lock, children that end with us, what changed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from computepool_client import errors
from computepool_client.cli.main import main
from computepool_client.cli.up.changes import Change, Look, changes, in_one_line
from computepool_client.cli.up.child import Child, in_words
from computepool_client.cli.up.state_dir import StateDir, default
from computepool_client.cli.up.stopping import Stopping

TESTS = Path(__file__).resolve().parents[2]
DAEMON = "fakes.small_daemon"


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    return make_child(tmp_path)


def make_child(folder: Path, *arguments: str) -> Child:
    ready_file = folder / "ready"
    given = (*arguments, "--ready-file", str(ready_file))
    return Child("small", DAEMON, given, folder / "small.log", ready_file)


def wait_until_ready(child: Child) -> None:
    """Until the ready file is there, for at most 20 seconds."""
    for _ in range(400):
        if child.ready() or child.wait(0.05):
            break
    assert child.ready()


def test_the_default_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert default() == Path("/elsewhere/computepool")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default() == Path("/home/someone/.local/state/computepool")


def test_the_folder_is_for_its_user_only(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "pool")
    state.make()
    assert state.root.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.PoolError, match="cannot make the state folder"):
        StateDir(tmp_path / "file" / "pool").make()


def test_a_second_up_is_told_which_process_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = StateDir(tmp_path)
    state.make()
    file = state.lock()
    assert main(["up", "--state-dir", str(tmp_path), "--json"]) == 6
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["reason"] == "STATE_DIR_LOCKED"
    assert f"process {os.getpid()}" in error["message"]
    os.close(file)
    os.close(state.lock())


def test_a_lock_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "up.lock").mkdir()
    with pytest.raises(errors.PoolError, match="cannot open"):
        StateDir(tmp_path).lock()


@pytest.mark.parametrize(
    "given",
    [
        "--listen 0.0.0.0:7600",
        "--listen 127.0.0.1",
        "--listen 127.0.0.1:65536",
        "--no-simulation --seed 1",
        "--no-simulation --no-server-agent",
        "--scenario /there/is/none",
    ],
)
def test_wrong_usage_starts_nothing(tmp_path: Path, given: str) -> None:
    assert main(["up", "--state-dir", str(tmp_path / "pool"), *given.split()]) == 2
    assert not (tmp_path / "pool").exists()


def test_a_child_starts_says_that_it_is_ready_and_stops(child: Child) -> None:
    assert child.ready() == ""
    child.start()
    wait_until_ready(child)
    assert child.status() is None
    child.signal(signal.SIGTERM)
    assert child.wait(20)
    assert child.status() == 0


def test_a_ready_file_of_an_earlier_run_does_not_count(child: Child, tmp_path: Path) -> None:
    child.ready_file.write_text("earlier\n")
    failing = make_child(tmp_path, "--fail", "no")
    failing.start()
    assert failing.wait(20)
    assert failing.ready() == ""


def test_the_log_of_a_failed_start_is_its_own(child: Child, tmp_path: Path) -> None:
    for text in ("first", "second"):
        failing = make_child(tmp_path, "--fail", text)
        failing.start()
        assert failing.wait(20)
        assert failing.status() == 3
        assert failing.tail() == [text]
    assert child.log.read_text() == "first\nsecond\n"


def test_the_delay_before_a_restart_doubles_up_to_its_bound(child: Child) -> None:
    child.start()
    assert [child.delay_s() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    child.signal(signal.SIGKILL)
    assert child.wait(20)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from test_up import make_child, wait_until_ready;"
        "child = make_child(Path(sys.argv[1])); child.start(); wait_until_ready(child);"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert parent.stdout is not None
    grandchild = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.wait(20)
    ended = wait_for_end(grandchild)
    os.close(grandchild)
    parent.stdout.close()
    assert ended


def wait_for_end(process: int) -> bool:
    import select  # noqa: PLC0415 - only here

    return bool(select.select([process], [], [], 20)[0])


def test_a_launcher_whose_parent_has_gone_starts_nothing(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready"
    command = [sys.executable, "-m", "computepool_client.cli.up.launcher", "1", DAEMON]
    ran = subprocess.run(
        [*command, "--ready-file", str(ready_file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 1
    assert "has ended" in ran.stderr
    assert not ready_file.exists()


def test_a_signal_ends_the_wait_at_once() -> None:
    before = {number: signal.getsignal(number) for number in (1, 2, 15)}
    try:
        stopping = Stopping()
        assert not stopping.wait(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.wait(600)
        assert stopping.asked == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_statuses_in_words() -> None:
    assert (in_words(3), in_words(-9)) == ("status 3", "signal SIGKILL")


BEFORE = Look(
    agents={"a": "ACTIVE", "b": "ACTIVE"},
    allocations={"x": ("RESERVED", "1 A100"), "y": ("ACTIVE", "2 H800")},
    live=2,
    use=90.0,
    findings=0,
)


def test_nothing_changed_is_nothing_said() -> None:
    assert changes(BEFORE, BEFORE) == []


def test_every_kind_of_change_is_told() -> None:
    after = Look(
        agents={"a": "DISCONNECTED", "c": "RECONCILING"},
        allocations={"x": ("ACTIVE", "1 A100"), "z": ("RESERVED", "1 T4 on n1")},
        live=2,
        use=91.0,
        warming_up=True,
        mass_silence=True,
        findings=3,
    )
    assert changes(BEFORE, after) == [
        Change("pool", "", "the pool is warming up"),
        Change("mass_silence", "", "MASS SILENCE of centers"),
        Change("audit", "", "the audit has 3 findings"),
        Change("agent", "a", "agent a is DISCONNECTED", "DISCONNECTED"),
        Change("agent", "b", "agent b was forgotten"),
        Change("agent", "c", "agent c is RECONCILING", "RECONCILING"),
        Change("state", "x", "x is ACTIVE"),
        Change("ended", "y", "y has ended"),
        Change("granted", "z", "z RESERVED: 1 T4 on n1"),
        Change("use", "", "use 91.0 % (was 90.0 %)"),
    ]


def test_small_steps_of_use_are_not_worth_a_line() -> None:
    assert changes(Look(use=90.0), Look(use=90.4)) == []


def test_a_first_audit_without_findings_is_no_news() -> None:
    assert changes(Look(findings=-1), Look(findings=0)) == []


def test_many_allocations_are_counted_instead_of_listed() -> None:
    found = changes(Look(live=199, allocations={}), Look(live=1201))
    assert [each.text for each in found] == ["1,201 live allocations (were 199)"]


def test_one_line_tells_three_changes_and_counts_the_rest() -> None:
    found = [Change("k", "", f"c{i}") for i in range(5)]
    assert in_one_line(found) == "c0; c1; c2; and 2 more changes"
    assert in_one_line(found[:2]) == "c0; c1"


def test_many_agents_that_change_alike_are_counted() -> None:
    before = Look(agents={f"a{i}": "ACTIVE" for i in range(9)})
    after = Look(agents={f"a{i}": "LOST" if i else "CLOSED" for i in range(9)}, use=50.0)
    want = "8 agents are LOST; agent a0 is CLOSED; use 50.0 % (was 0.0 %)"
    assert in_one_line(changes(before, after)) == want
