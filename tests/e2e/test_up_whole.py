"""`computepool up`, and the command beside it, as a person would use them."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from support.processes import READY_S, Daemon, eventually, program

if TYPE_CHECKING:
    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(150)


def events(up: Daemon) -> list[dict[str, Any]]:
    return [json.loads(line) for line in up.log_of_this_life.splitlines() if line.startswith("{")]


async def said(up: Daemon, kind: str, within_s: float = 2 * READY_S) -> dict[str, Any]:
    """Wait until `up` has reported an event of a kind, and give the last such."""

    async def found() -> dict[str, Any] | None:
        assert up.running, f"up ended with {up.code}:\n{up.tail()}"
        return next((e for e in reversed(events(up)) if e["event"] == kind), None)

    event = await eventually(found, f"up says {kind}", within_s)
    assert event is not None
    return event


async def started(up: Daemon) -> dict[str, Any]:
    up.start()
    return await said(up, "ready")


async def call(pool: LocalPool, *arguments: str, code: int = 0) -> Any:
    """Run the command with --json and give its document."""
    process = await asyncio.create_subprocess_exec(
        program("computepool"),
        *arguments,
        *("--json", "--endpoint", pool.target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == code, (arguments, out, err)
    assert b"Traceback" not in err
    return json.loads(out) if out else None


def children(up: Daemon) -> list[psutil.Process]:
    return psutil.Process(up.pid).children(recursive=True)


async def all_gone(processes: list[psutil.Process]) -> None:
    async def none_left() -> bool:
        alive = []
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return not alive

    await eventually(none_left, "all daemons have ended")


async def held(pool: LocalPool) -> dict[str, tuple[str, list[tuple[str, list[str]]]]]:
    """State and place of each live allocation, by id."""
    out = {}
    for allocation in (await call(pool, "list"))["allocations"]:
        places = [
            (lease["node"], [d["device_id"] for d in lease.get("devices", [])])
            for lease in allocation["leases"]
        ]
        out[allocation["id"]] = (allocation["state"], places)
    return out


async def test_up_shows_allocates_stops_and_finds_its_allocations_again(pool: LocalPool) -> None:
    up = pool.up()
    ready = await started(up)
    assert ready["endpoint"] == pool.target
    daemons = children(up)
    assert len(daemons) == 3
    view = await call(pool, "view")
    centers = {c["center"] for region in view["regions"] for c in region["centers"]}
    assert centers == {"local", "core-a", "support-a", "receiver-a"}
    await call(pool, "allocate", "--gpus", "2", "--count", "3")
    await call(pool, "allocate", "--center", "local", "--memory", "64MiB")
    before = await held(pool)
    assert {state for state, _ in before.values()} == {"ALLOCATION_STATE_ACTIVE"}
    assert len(before) == 2
    up.signal(signal.SIGINT)
    assert await up.ended(40) == 0
    await all_gone(daemons)
    assert "Traceback" not in up.log
    await started(up)
    assert await held(pool) == before
    for allocation_id in before:
        await call(pool, "release", allocation_id)
    assert (await call(pool, "audit")).get("findings", []) == []
    up.signal(signal.SIGTERM)
    assert await up.ended(40) == 0


async def test_second_up_on_the_same_folder_is_refused(pool: LocalPool) -> None:
    first = pool.up()
    await started(first)
    second = pool.up("second")
    second.start()
    assert await second.ended() == 6
    assert f"process {first.pid}" in second.log
    assert "Traceback" not in second.log
    assert first.running
    assert len(children(first)) == 3


async def test_allocations_survive_when_everything_is_killed_at_once(pool: LocalPool) -> None:
    up = pool.up()
    await started(up)
    await call(pool, "allocate", "--gpus", "8", "--count", "2")
    before = await held(pool)
    daemons = children(up)
    for daemon in daemons:
        daemon.kill()
    up.kill()
    await all_gone(daemons)
    await started(up)
    assert await held(pool) == before


async def test_daemons_do_not_outlive_an_up_that_is_killed(pool: LocalPool) -> None:
    up = pool.up()
    await started(up)
    daemons = children(up)
    up.kill()
    await all_gone(daemons)


async def test_broker_that_is_killed_is_started_again_with_its_allocations(pool: LocalPool) -> None:
    up = pool.up()
    await started(up)
    await call(pool, "allocate", "--gpus", "1")
    before = await held(pool)
    broker = next(p for p in children(up) if "computepool_broker.main" in p.cmdline())
    broker.kill()
    await said(up, "child_ended")

    async def same_as_before() -> bool:
        try:
            return await held(pool) == before
        except AssertionError:
            return False  # nobody answers yet

    await eventually(same_as_before, "the broker is back with what it had", 40)
    again = next(p for p in children(up) if "computepool_broker.main" in p.cmdline())
    assert again.pid != broker.pid
