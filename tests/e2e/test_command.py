"""The command against a pool of real daemons: lists, drains, watches, many at once."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from support.processes import program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(150)
WITHIN_S = 40


class Running:
    """A command that goes on; its answers come as JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> dict[str, Any]:
        """The next document."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            text = await self._process.stdout.readline()
        assert text, await self.ended()
        found: dict[str, Any] = json.loads(text)
        return found

    async def until(self, key: str, value: object) -> dict[str, Any]:
        """The first document from here on in which a field has a value."""
        while (found := await self.line())[key] != value:
            pass
        return found

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> tuple[int | None, str]:
        """Status and what was said on stderr."""
        async with asyncio.timeout(WITHIN_S):
            _, err = await self._process.communicate()
        return self._process.returncode, err.decode()

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process.returncode is None:
            self._process.kill()


@asynccontextmanager
async def running(pool: LocalPool, *arguments: str) -> AsyncIterator[Running]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COMPUTEPOOL_")}
    process = await asyncio.create_subprocess_exec(
        program("computepool"),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "COMPUTEPOOL_ENDPOINT": pool.target},
        limit=2**20,
    )
    command = Running(process)
    try:
        yield command
    finally:
        command.kill()


async def run(pool: LocalPool, *arguments: str, want: int = 0) -> str:
    """What a command says on stdout; it must end with the status wanted."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COMPUTEPOOL_")}
    process = await asyncio.create_subprocess_exec(
        program("computepool"),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "COMPUTEPOOL_ENDPOINT": pool.target},
    )
    async with asyncio.timeout(WITHIN_S):
        out, err = await process.communicate()
    assert process.returncode == want, (arguments, out.decode(), err.decode())
    assert b"Traceback" not in err
    return out.decode()


async def started(pool: LocalPool) -> None:
    pool.broker().start()
    region = pool.region()
    region.start()
    await region.ready()


async def allocated(pool: LocalPool, *arguments: str) -> str:
    """The id of a new allocation."""
    given = arguments or ("--gpus", "1", "--center", "core-a")
    return (await run(pool, "allocate", *given, "-o", "name")).strip()


async def test_a_center_is_drained_and_stays_cordoned(pool: LocalPool) -> None:
    await started(pool)
    first, second = await allocated(pool), await allocated(pool)
    elsewhere = await allocated(pool, "--gpus", "1", "--center", "support-a")
    async with running(pool, "drain", "--center", "core-a", "--json") as drain:
        at_first = await drain.line()
        assert (at_first["leases"], at_first["leases_at_start"]) == (2, 2)
        assert {each["allocation_id"] for each in at_first["holders"]} == {first, second}
        await run(pool, "release", first)
        await drain.until("leases", 1)
        await run(pool, "release", second)
        await drain.until("leases", 0)
        assert await drain.ended() == (0, "")
    await run(pool, "allocate", "--gpus", "1", "--center", "core-a", want=3)
    assert (await run(pool, "list", "-o", "name")).split() == [elsewhere]


async def test_a_drain_that_takes_too_long_names_the_holders(pool: LocalPool) -> None:
    await started(pool)
    held = await allocated(pool)
    out = await run(pool, "drain", "--center", "core-a", "--timeout", "500ms", want=6)
    assert "center core-a is cordoned; 1 lease is still there." in out
    assert held in out.splitlines()[-1]
    async with running(pool, "drain", "--center", "core-a", "--json") as drain:
        await drain.line()
        drain.interrupt()
        status, err = await drain.ended()
    assert status == 130
    assert "computepool uncordon --center core-a" in json.loads(err)["error"]["message"]


async def test_a_drain_ends_when_somebody_takes_the_cordon_back(pool: LocalPool) -> None:
    await started(pool)
    await allocated(pool)
    async with running(pool, "drain", "--center", "core-a", "--json") as drain:
        await drain.line()
        await run(pool, "uncordon", "--center", "core-a")
        status, err = await drain.ended()
    assert (status, json.loads(err)["error"]["reason"]) == (6, "UNCORDONED")
    await run(pool, "drain", "--center", "nowhere", want=4)


async def test_drain_and_watch_go_on_with_a_broker_that_was_killed(pool: LocalPool) -> None:
    await started(pool)
    held = await allocated(pool)
    broker = pool.daemons[0]
    async with (
        running(pool, "drain", "--center", "core-a", "--json") as drain,
        running(pool, "watch", "--json") as watch,
    ):
        await drain.until("leases", 1)
        synced = await watch.until("synced", value=True)
        broker.kill()
        broker.start()
        await broker.ready()
        await run(pool, "release", held, "--timeout", "30s")
        assert (await drain.until("leases", 0))["leases_at_start"] == 1
        status, err = await drain.ended()
        assert status == 0
        assert "asking again until it answers" in err
        seen: list[str] = []
        while "ENDED" not in " ".join(seen):
            answer = await watch.line()
            seen += [each["allocation"]["state"] for each in answer["events"]]
        watch.interrupt()
        status, err = await watch.ended()
        assert status == 130
        assert "missed" not in err
    token = synced["resume_token"]
    out = await run(pool, "watch", "--resume-token", token, "--timeout", "1s", "-o", "name")
    assert set(out.split()) == {held}


async def test_watch_tells_each_state_once_in_words(pool: LocalPool) -> None:
    await started(pool)
    async with running(pool, "watch", "--json", "--filter", 'labels.job = "x"') as watch:
        await watch.until("synced", value=True)
        id_ = await allocated(pool, "--gpus", "1", "--label", "job=x")
        await allocated(pool, "--gpus", "1", "--label", "job=y")
        await run(pool, "release", id_)
        states: list[str] = []
        while "ALLOCATION_STATE_ENDED" not in states:
            for each in (await watch.line())["events"]:
                assert each["allocation"]["id"] == id_
                states.append(each["allocation"]["state"])
        assert states == sorted(states, key=list(dict.fromkeys(states)).index)
    out = await run(pool, "watch", "--timeout", "1s", "--filter", 'labels.job = "y"')
    (line,) = out.splitlines()
    assert line.split()[2:6] == ["ACTIVE", "default", "1", "device"]


async def test_lists_filter_order_and_name(pool: LocalPool) -> None:
    await started(pool)
    names = await run(pool, "centers", "-o", "name", "--order-by", "name desc")
    assert names.split() == ["support-a", "receiver-a", "core-a"]
    assert (await run(pool, "centers", "-o", "name", "--filter", 'role = "core"')).split() == [
        "core-a"
    ]
    found = json.loads(await run(pool, "nodes", "--limit", "5", "--json"))
    assert (len(found["nodes"]), found["more"]) == (5, True)
    assert len((await run(pool, "agents", "-o", "name")).split()) == 3
    await run(pool, "nodes", "--filter", "nonsense = 1", want=2)


async def test_what_matches_a_filter_is_renewed_and_released_together(pool: LocalPool) -> None:
    await started(pool)
    ours = {await allocated(pool, "--gpus", "1", "--label", "job=x") for _ in range(3)}
    other = await allocated(pool)
    matching = ("--filter", 'labels.job = "x"', "--yes", "--json")
    renewed = json.loads(await run(pool, "renew", *matching, "--ttl", "2h"))
    assert renewed == {"renewed": 3, "failures": []}
    found = json.loads(await run(pool, "list", "--json"))["allocations"]
    assert {each["id"] for each in found if each["remaining_ttl_ms"] > 3_600_000} == ours
    assert json.loads(await run(pool, "release", *matching))["released"] == 3
    out = json.loads(await run(pool, "release", other, "no-such", "--json", want=4))
    assert (out["released"], out["failures"][0]["id"]) == (1, "no-such")


async def test_a_refusal_says_what_would_fit_and_that_fits(pool: LocalPool) -> None:
    await started(pool)
    out = await run(pool, "explain", "--gpus", "8", "--count", "13", "--ttl", "1m", want=3)
    lines = [line.strip() for line in out.splitlines()]
    offered = [line for line in lines if line.startswith("computepool allocate ")]
    assert offered, out
    for line in offered:
        words = shlex.split(line)[1:]
        # The devices of the one before come back when its agents have let them go.
        id_ = (await run(pool, *words, "--wait", "30s", "-o", "name")).strip()
        assert f"Allocation {id_}: active on" in await run(pool, "explain", id_)
        await run(pool, "release", id_)
