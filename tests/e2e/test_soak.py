"""Everything at once, while the broker and the agents are killed, paused and stopped at random.

COMPUTEPOOL_SOAK_S=480 makes it last longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2
from support.caller import LIVE
from support.load import all_comes_back, check_devices, settled
from support.local_pool import CENTERS, DEVICES
from support.processes import eventually
from support.soak import Soak

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool
    from support.processes import Daemon
    from support.soak_followers import Follower

SOAK_S = float(os.environ.get("COMPUTEPOOL_SOAK_S", "12"))
STRIKES = ("kill", "kill", "stop", "kill agents", "stop agents", "pause", "pause agents")
ROUND_S = 45.0
"""Faults go on for so long before all is held against the broker."""


async def strike(what: str, rng: random.Random, broker: Daemon, region: Daemon) -> None:
    """Let one thing go wrong, and mend it."""
    victim = region if "agents" in what else broker
    if what.startswith("kill"):
        victim.kill()
    elif what.startswith("stop"):
        await victim.stop()
    else:
        victim.pause()
        await asyncio.sleep(rng.uniform(0.1, 2.5))
        victim.resume()
        return
    await asyncio.sleep(rng.choice((0.0, 0.0, 1.5)))
    victim.start()
    await victim.ready()


async def check(soak: Soak, caller: Caller) -> None:
    """Hold what clients and watchers were told against the broker."""
    await soak.pause()
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    await settled(caller, 40)
    known = await caller.all()
    by_id = {a.id: a for a in known}
    requests = [(a.tenant, a.request_id) for a in known]
    assert len(requests) == len(set(requests)), "a request_id has two allocations"
    names = {a.request_id: a.id for a in known}
    assert soak.calls.book.granted.items() <= names.items(), "something acknowledged is missing"
    assert soak.calls.book.refused.isdisjoint(names), "something refused is there"
    for key in soak.calls.book.granted.values():
        allocation = by_id[key]
        if allocation.state in LIVE:
            assert key not in soak.calls.book.released, allocation
        else:
            reasons = {wire.END_REASON_FAILED}
            reasons |= {wire.END_REASON_RELEASED} if key in soak.calls.book.released else set()
            assert allocation.end_reason in reasons, allocation
    for name, (size, granted) in soak.batches.items():
        there = sum(a.labels["batch"] == name for a in known if "batch" in a.labels)
        assert there == (size if granted else 0), f"{there} of {size} of {name}"
    check_devices(known)
    assert await caller.findings() == []
    await check_watchers(soak, caller)
    soak.check()


async def check_watchers(soak: Soak, caller: Caller) -> None:
    """What was folded is what there is."""
    for follower, kind in zip(soak.followers, ("", "batch"), strict=True):
        await eventually(partial(agrees, soak, caller, follower, kind), f"all of {kind!r} was told")

    async def view_agrees() -> bool:
        view = await caller.view()
        now = {c.center: c for region in view.regions for c in region.centers}
        return numbers(now) == numbers(soak.view.centers)

    await eventually(view_agrees, "the watched view is the view")


async def agrees(soak: Soak, caller: Caller, follower: Follower, kind: str) -> bool:
    """Whether a follower was told what is listed."""
    soak.check()
    of_kind = [a for a in await caller.all() if not kind or a.labels["kind"] == kind]
    return follower.known == {a.id: (a.revision, a.state) for a in of_kind}


def numbers(centers: dict[str, inventory_pb2.CenterView]) -> dict[str, object]:
    """What of the view does not change by itself."""
    return {
        name: (
            c.cpu_milli.granted,
            [(m.model, m.devices.granted, m.devices.free) for m in c.models],
        )
        for name, c in centers.items()
    }


@pytest.mark.timeout(SOAK_S * 2 + 180)
async def test_nothing_is_lost_or_doubled_when_all_is_used_while_everything_is_killed(
    pool: LocalPool, caller: Caller, seed: str
) -> None:
    rng = random.Random(f"{seed}:strikes")
    broker, region = pool.broker(), pool.region()
    for daemon in (broker, region):
        daemon.start()
        await daemon.ready()
    over = time.monotonic() + SOAK_S
    struck = STRIKES[0]  # the broker at first: else nothing may be cut in a short run
    async with Soak(pool.target, seed) as soak:
        while time.monotonic() < over:
            round_over = min(over, time.monotonic() + ROUND_S)
            while time.monotonic() < round_over:
                # Any point of the work in flight: the wait is chance, not synchronisation.
                await asyncio.sleep(rng.uniform(0.3, 4.0))
                soak.check()
                await strike(struck, rng, broker, region)
                struck = rng.choice(STRIKES)
                print(struck, dict(soak.calls.done))  # noqa: T201 - shown with a failure
            await check(soak, caller)
            if time.monotonic() < over:
                soak.go_on()
        for follower in soak.followers:
            assert follower.resumed, "no watch was cut"
        assert soak.calls.book.open, "no strike met a call in flight"
    await all_comes_back(caller, DEVICES)
    assert await caller.findings() == []
    for daemon in pool.daemons:
        assert "Traceback" not in daemon.log
