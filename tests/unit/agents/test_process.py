"""The daemon as a process: ready, stopped, locked, and clear about what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from computepool_agents.state_dir import StateDir, StateDirError
from fakes.agent_builders import make_record
from fakes.scripted_broker import ScriptedBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEADLINE_S = 30.0
SCENARIO = "--centers zhangjiakou-02,zhangjiakou-04"


@asynccontextmanager
async def daemon(arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A daemon that is gone at the end, whatever happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "computepool_agents.main", *arguments.split()),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    async with asyncio.timeout(DEADLINE_S):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ready_then_stopped_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready"
    ready.write_text("of a former process")
    async with ScriptedBroker() as broker:
        line = (
            f"--backend server --name host-a --node-name host-a --broker {broker.target} "
            f"--state-dir {tmp_path / 'state'} --ready-file {ready}"
        )
        async with daemon(line) as process:
            await broker.until(lambda: bool(broker.reports), DEADLINE_S)
            broker.grant(make_record(node="host-a", cpu=0, memory=0))
            await broker.until_states({"a1.0.0": "STARTED"})
            assert ready.read_text() == "host-a\n"
            assert (tmp_path / "state" / "grants" / "a1.0.0.env").exists()
            process.send_signal(number)
            code, log = await ended(process)
        assert code == 0
        assert [close.session for close in broker.closed] == [1]
        events = [json.loads(entry)["event"] for entry in log.splitlines()]
        assert events[:3] == ["broker found", "session open", "ready"]
    assert (tmp_path / "state" / "grants" / "a1.0.0.env").exists()


async def test_killed_agent_finds_its_lease_again(tmp_path: Path) -> None:
    line = f"--backend server --name host-a --node-name host-a --state-dir {tmp_path}"
    async with ScriptedBroker() as broker:
        line += f" --broker {broker.target}"
        async with daemon(line) as process:
            await broker.until(lambda: bool(broker.reports), DEADLINE_S)
            broker.grant(make_record(node="host-a", cpu=0, memory=0))
            await broker.until_states({"a1.0.0": "STARTED"})
            process.kill()
            await process.wait()
        seen = len(broker.reports)
        async with daemon(line):
            await broker.until(lambda: len(broker.reports) > seen, DEADLINE_S)
            assert broker.reports[seen].head.session == 2
            assert broker.reports[seen].leases["a1.0.0"].record == broker.want["a1.0.0"]


async def test_one_process_plays_several_centers(tmp_path: Path) -> None:
    async with ScriptedBroker() as broker:
        line = f"--backend simulated {SCENARIO} --broker {broker.target} --state-dir {tmp_path}"
        async with daemon(line) as process:
            await broker.until(lambda: len(broker.opened) == 2, DEADLINE_S)
            process.terminate()
            code, _ = await ended(process)
    assert code == 0
    assert {opened.agent for opened in broker.opened} == {"zhangjiakou-02", "zhangjiakou-04"}
    assert names_in(tmp_path) == {"zhangjiakou-02", "zhangjiakou-04"}


async def test_second_process_is_told_who_has_the_folder(tmp_path: Path) -> None:
    with StateDir(tmp_path):
        async with daemon(f"--backend server --state-dir {tmp_path}") as process:
            code, log = await ended(process)
    assert code == 1
    assert f"pid {os.getpid()}" in log
    assert "Traceback" not in log


def test_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with StateDir(tmp_path), pytest.raises(StateDirError, match="in use"), StateDir(tmp_path):
        pass
    with StateDir(tmp_path):
        pass


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StateDirError, match="cannot use the state folder"),
        StateDir(tmp_path / "file"),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        ("--backend tape", "--backend must be one of server, simulated"),
        ("--backend simulated --centers atlantis", "has no center 'atlantis'"),
        ("--backend simulated --misbehave silence:center=atlantis", "has no center 'atlantis'"),
        ("--backend simulated --scenario /nowhere.toml", "/nowhere.toml"),
    ],
)
async def test_bad_configuration_is_one_line_and_code_2(
    tmp_path: Path, arguments: str, want: str
) -> None:
    async with daemon(f"{arguments} --state-dir {tmp_path}") as process:
        code, log = await ended(process)
    assert code == 2
    assert log.startswith("computepool-agent: error: ")
    assert want in log
    assert log.count("\n") == 1
