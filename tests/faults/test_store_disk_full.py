"""The disk of the embedded store is full, or nearly."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ACTIVE, ENDED, Caller, reason_of, spec
from support.load import Load
from support.local_pool import CENTERS, LocalPool
from support.no_space import no_space, no_sync
from support.processes import Daemon, eventually
from support.whole_again import no_findings, whole_again

pytestmark = pytest.mark.timeout(120)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from support.small_disk import SmallDisk

SHORT_KIB = 4_096
"""Below the quarter of the disk that new grants leave free, and enough for everything else."""


async def started(pool: LocalPool) -> Daemon:
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    return broker


async def refused(caller: Caller) -> str | None:
    """The reason for which a new request is refused now; None when it is granted."""
    try:
        await caller.create(spec(1), wait_for=allocation_pb2.WAIT_FOR_RESERVED)
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return None


async def write_until_it_ends(caller: Caller, broker: Daemon) -> set[str]:
    """Change something that must be written, until the broker ends; the reasons it gave."""
    reasons: set[str] = set()
    for turn in range(10_000):
        if not broker.running:
            return reasons
        request = inventory_pb2.CordonRequest(center=CENTERS[0], message=f"{turn:01000}")
        try:
            await caller.inventory.Cordon(request, timeout=5)
        except grpc.aio.AioRpcError as error:
            reasons.add(reason_of(error))
    pytest.fail("the broker writes on where nothing is left")


async def test_store_short_of_room_grants_nothing_new_while_all_else_goes_on(
    pool: LocalPool, caller: Caller, disk: SmallDisk
) -> None:
    pool.store = disk.folder / "store"
    broker = await started(pool)
    kept, given_back = await caller.active(spec(2), "kept"), await caller.active(spec(1), "back")
    disk.fill(leave_kib=SHORT_KIB)
    await eventually(lambda: _is(refused(caller), "STORE_FULL"), "new grants are refused")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.create(spec(1), "new")
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert str(pool.store) in (error.value.details() or "")
    again = await caller.create(spec(2), "kept")
    assert (again.allocation.id, again.duplicate) == (kept.id, True)
    assert (await caller.renew(kept.id)).state == ACTIVE
    await caller.release(given_back.id)
    await caller.becomes(given_back.id, ENDED)
    await no_findings(caller)
    disk.make_room()
    await eventually(lambda: _is(refused(caller), None), "grants go on by themselves")
    for event in ("store_short_of_room", "store_has_room_again"):
        assert broker.log.count(f'"event": "{event}"') == 1
    assert await broker.stop() == 0


async def _is(call: Awaitable[str | None], want: str | None) -> bool:
    return await call == want


async def test_broker_ends_on_a_full_disk_and_has_all_it_confirmed_when_there_is_room(
    pool: LocalPool, caller: Caller, disk: SmallDisk, seed: str
) -> None:
    rng = random.Random(f"{seed}:full")
    pool.store = disk.folder / "store"
    broker = await started(pool)
    async with Load(pool.target, seed) as load:
        await load.progress(grants=rng.randint(1, 30))
        disk.fill()
        reasons = await write_until_it_ends(caller, broker)
        assert broker.code == 1
        assert f"no space left on {pool.store}" in broker.log_of_this_life
        assert "OUTCOME_UNKNOWN" in reasons | load.book.open.keys()
        broker.start()
        assert await broker.ended() == 1
        assert f"STORE_FULL: no space left on {pool.store}" in broker.log_of_this_life
        disk.make_room()
        broker.start()
        await broker.ready()
        lift = inventory_pb2.UncordonRequest(center=CENTERS[0])
        await caller.inventory.Uncordon(lift, wait_for_ready=True, timeout=20)
        await load.progress(grants=5)
    await whole_again(caller, load.book)


@pytest.mark.parametrize(("fault", "told"), [(no_space, "no space left"), (no_sync, "failed")])
async def test_broker_whose_disk_fails_ends_and_has_all_it_confirmed_when_it_does_not(
    pool: LocalPool,
    caller: Caller,
    seed: str,
    fault: Callable[[int, Path], AbstractAsyncContextManager[None]],
    told: str,
) -> None:
    broker = await started(pool)
    async with Load(pool.target, seed) as load:
        await load.progress(grants=10)
        async with fault(broker.pid, pool.store):
            assert await broker.ended() == 1
        assert f"{told} on {pool.store}" in broker.log_of_this_life
        broker.start()
        await broker.ready()
        await load.progress(grants=5)
    await whole_again(caller, load.book)
