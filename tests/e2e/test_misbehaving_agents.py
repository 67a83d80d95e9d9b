"""Agents that refuse, are late, slow, silent, say things twice and lose devices, under load."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ENDED, spec
from support.load import Load, all_comes_back, check_book, settled
from support.local_pool import CENTERS, DEVICES
from support.processes import eventually

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool

MISCHIEF_S = 10
"""How long the agents misbehave, from the start of their process."""


@pytest.mark.timeout(120)
async def test_books_balance_after_every_kind_of_misbehaviour_under_load(
    pool: LocalPool, caller: Caller, seed: str
) -> None:
    broker = pool.broker()
    broker.start()
    await broker.ready()
    lasts = f"for_s={MISCHIEF_S}"
    first = pool.region(
        "core-a",
        name="first",
        seed="1",
        misbehave=(
            f"refuse:{lasts}:p=0.3",
            f"double:{lasts}:p=0.5",
            f"late:{lasts}:p=0.3",
            "silence:after_s=4:for_s=3",
        ),
    )
    second = pool.region(
        "support-a",
        "receiver-a",
        name="second",
        seed="2",
        misbehave=(
            f"refuse:center=support-a:{lasts}:p=0.2",
            f"slow:{lasts}:p=0.3:delay_s=0.3",
            f"double:{lasts}:p=0.3",
            "lose-capacity:center=receiver-a:after_s=3:for_s=4:p=0.5",
        ),
    )
    began = time.monotonic()
    for agent in (first, second):
        agent.start()
    async with Load(pool.target, seed, may_end=True) as load:

        async def mischief_is_over() -> bool:
            return time.monotonic() > began + MISCHIEF_S + 2

        await eventually(mischief_is_over, "the agents have come to their senses", 60)
        await load.progress(grants=10)
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    agents = await caller.agents()
    for refuser in ("core-a", "support-a"):
        assert (agents[refuser].refusals > 0, agents[refuser].last_refusal) == (True, "INJECTED")
    assert re.search(r'"agent": "core-a", "state": "DISCONNECTED"', broker.log)
    await settled(caller)
    await check_book(caller, load.book, may_end=True)
    assert await caller.findings() == []
    await all_comes_back(caller, DEVICES)
    assert await caller.findings() == []
    for daemon in pool.daemons:
        assert "Traceback" not in daemon.log


@pytest.mark.timeout(60)
async def test_node_that_has_refused_is_used_again_though_its_numbers_never_change(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = pool.broker(), pool.region("core-a", misbehave=("refuse:for_s=4",))
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    refused = await caller.create(spec(8), wait_for=allocation_pb2.WAIT_FOR_RESERVED)
    failed = await caller.becomes(refused.allocation.id, ENDED)
    assert failed.end_reason == allocation_pb2.END_REASON_FAILED
    assert "INJECTED" in failed.end_message

    async def nothing_is_suspect() -> bool:
        return not any(node.blockers for node in (await caller.nodes()).values())

    await eventually(nothing_is_suspect, "no node is suspect")
    await all_comes_back(caller, 32)
