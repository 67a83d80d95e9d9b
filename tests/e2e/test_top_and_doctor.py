"""The live screen on a real terminal, and the doctor, with a real pool."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from support.caller import spec
from support.processes import eventually, program
from support.redis_server import RedisServer
from support.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from support.caller import Caller
    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(120)

LEAVES_ITS_SCREEN = "\x1b[?1049l"


def top(pool: LocalPool) -> Terminal:
    command = [program("computepool"), "top", "--endpoint", pool.target, "--interval", "200ms"]
    return Terminal(command)


async def start(pool: LocalPool) -> None:
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()


async def test_keys_lead_to_the_leases_of_a_center(pool: LocalPool, caller: Caller) -> None:
    await start(pool)
    with top(pool) as screen:
        await screen.shows("READY")
        await screen.shows("receiver-a")
        held = await caller.active(spec(3))
        await screen.shows("1 allocation live")
        screen.type(f"/{held.leases[0].center}\r")
        await screen.shows("1 of 3 centers")
        screen.type("\r")
        await screen.shows(held.leases[0].node)
        screen.type("l")
        await screen.shows(held.id)
        screen.type("q")
        assert await screen.ended() == 0


async def test_the_screen_lives_through_a_broker_that_is_killed(pool: LocalPool) -> None:
    await start(pool)
    with top(pool) as screen:
        await screen.shows("READY")
        mark = screen.mark
        pool.daemons[0].kill()
        await screen.shows("no answer for", mark)
        mark = screen.mark
        pool.daemons[0].start()
        await screen.shows("READY", mark)
        screen.type("q")
        assert await screen.ended() == 0
        assert LEAVES_ITS_SCREEN in screen.raw
        assert "Traceback" not in screen.raw


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_leaves_the_terminal_in_order(
    pool: LocalPool, number: signal.Signals
) -> None:
    with top(pool) as screen:
        await screen.shows("no broker answers")
        if number is signal.SIGINT:
            screen.type("\x03")
        else:
            screen.signal(number)
        assert await screen.ended() == 0
        assert LEAVES_ITS_SCREEN in screen.raw
        assert "Traceback" not in screen.raw


async def doctor(pool: LocalPool, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    command = ("doctor", "--json", "--endpoint", pool.target, *arguments)
    process = await asyncio.create_subprocess_exec(
        program("computepool"), *command, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    findings = {each["check"]: each for each in json.loads(out)["findings"]}
    return process.returncode, findings


async def test_the_doctor_finds_nothing_in_a_pool_that_is_in_order(pool: LocalPool) -> None:
    await start(pool)
    status, found = await doctor(pool, "--state-dir", str(pool.folder))
    assert status == 0
    bad = {name for name, each in found.items() if each["verdict"] == "FAIL"}
    assert bad == set()
    for name in ("versions", "health", "agents", "silent-agents", "open", "models"):
        assert found[name]["verdict"] == "OK", found[name]


async def test_the_doctor_finds_agents_that_are_gone(pool: LocalPool) -> None:
    await start(pool)
    pool.daemons[1].kill()

    async def found_out() -> bool:
        status, found = await doctor(pool)
        silent = found["silent-agents"]["what"].startswith("3 agents silent")
        return silent and status == 1 and found["agents"]["verdict"] == "FAIL"

    await eventually(found_out, "the doctor finds silent agents", 30.0, 0.5)
    pool.daemons[0].kill()
    status, found = await doctor(pool)
    assert (status, found["connect"]["verdict"]) == (1, "FAIL")


async def test_the_doctor_reads_the_settings_of_a_real_redis(
    pool: LocalPool, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path / "redis", maxmemory_policy="allkeys-lru")
    server.start()
    try:
        _, found = await doctor(pool, "--store", server.url())
    finally:
        server.stop()
    assert found["redis"]["verdict"] == "OK"
    assert found["redis-memory"]["verdict"] == "FAIL"
    assert found["redis-log"]["verdict"] == "WARN"
