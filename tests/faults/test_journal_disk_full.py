"""The disk of an agent's journal is full: what runs goes on, what is new is refused."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from support.caller import ACTIVE, ENDED, RELEASING, Caller, spec
from support.load import Load
from support.local_pool import CENTERS, LocalPool
from support.no_space import no_space, no_sync
from support.processes import Daemon, eventually
from support.whole_again import no_findings, whole_again

if TYPE_CHECKING:
    from computepool.v1 import types_pb2
    from support.small_disk import SmallDisk

pytestmark = pytest.mark.timeout(120)

SHORT_KIB = 4_096
"""Below the quarter of the disk that new leases leave free, and enough for everything else."""
RESERVED = allocation_pb2.WAIT_FOR_RESERVED


def small(memory_mib: int, stop_after_s: int = 0) -> types_pb2.AllocationSpec:
    """Memory alone, of which a busy machine has some left."""
    return spec(0, cpu_milli=0, memory_mib=memory_mib, stop_after_s=stop_after_s)


async def started(pool: LocalPool, disk: SmallDisk) -> Daemon:
    """A broker, and a server agent whose journal is on the small disk; gives the agent."""
    broker = pool.broker()
    server = pool.server(state_dir=str(disk.folder / "state"))
    for daemon in (broker, server):
        daemon.start()
        await daemon.ready()
    return server


async def nodes_are(caller: Caller, *, schedulable: bool) -> None:
    async def so() -> bool:
        nodes = (await caller.nodes()).values()
        return bool(nodes) and all(node.schedulable == schedulable for node in nodes)

    await eventually(so, f"all nodes schedulable: {schedulable}")


def runs(disk: SmallDisk) -> set[str]:
    """Allocations whose work runs, by the agent's grant files."""
    files = (disk.folder / "state" / "grants").glob("*.env")
    return {path.name.split(".")[0] for path in files}


async def test_agent_short_of_room_admits_nothing_new_and_tears_down_what_is_released(
    pool: LocalPool, caller: Caller, disk: SmallDisk
) -> None:
    server = await started(pool, disk)
    kept, given_back = await caller.active(small(10)), await caller.active(small(20))
    disk.fill(leave_kib=SHORT_KIB)
    await nodes_are(caller, schedulable=False)
    await caller.release(given_back.id)
    await caller.becomes(given_back.id, ENDED)
    assert runs(disk) == {kept.id}
    assert (await caller.renew(kept.id)).state == ACTIVE
    await no_findings(caller)
    disk.make_room()
    await nodes_are(caller, schedulable=True)
    await caller.active(small(30))
    assert server.running


async def test_lease_granted_just_before_the_disk_fills_is_refused_and_never_runs(
    pool: LocalPool, caller: Caller, disk: SmallDisk
) -> None:
    server = await started(pool, disk)
    kept = await caller.active(small(10))
    await eventually(lambda: _runs_only(disk, kept.id), "it runs")
    server.pause()
    granted = (await caller.create(small(20), wait_for=RESERVED)).allocation
    disk.fill()
    server.resume()
    ended = await caller.becomes(granted.id, ENDED)
    assert ended.end_reason == allocation_pb2.END_REASON_FAILED
    assert "JOURNAL_FULL" in ended.end_message
    assert runs(disk) == {kept.id}
    assert (await caller.get(kept.id)).state == ACTIVE
    await no_findings(caller)
    disk.make_room()
    await nodes_are(caller, schedulable=True)
    await caller.active(small(30))
    assert server.running


async def test_lease_released_on_a_full_disk_stops_and_its_room_is_back_with_the_disks(
    pool: LocalPool, caller: Caller, disk: SmallDisk
) -> None:
    server = await started(pool, disk)
    kept = await caller.active(small(10, stop_after_s=3))
    clock = await caller.active(spec(0, cpu_milli=0, memory_mib=10, ttl_s=10))
    leases = [await caller.active(small(20)) for _ in range(3)]
    await eventually(lambda: _run_so_many(disk, 5), "all run")
    disk.fill()
    async with no_space(server.pid, disk.folder / "state"):
        # Also the log's own old room is of no use now.
        for lease in leases:
            await caller.release(lease.id)
        # What is released or expires stops. The contact term does not end meanwhile: the broker
        # answers, though that cannot be written down.
        await eventually(lambda: _runs_only(disk, kept.id), "what has ended has stopped")
        stays = {(await caller.get(lease.id)).state for lease in (clock, *leases)}
        assert stays == {RELEASING}
    disk.make_room()
    for lease in (clock, *leases):
        await caller.becomes(lease.id, ENDED)
    assert (await caller.get(kept.id)).state == ACTIVE
    assert (await caller.nodes())["server-node"].granted.memory_mib == 10
    await no_findings(caller)
    assert server.running


async def _runs_only(disk: SmallDisk, allocation_id: str) -> bool:
    return runs(disk) == {allocation_id}


async def _run_so_many(disk: SmallDisk, count: int) -> bool:
    return len(runs(disk)) == count


async def test_agent_killed_on_a_full_disk_goes_on_by_itself_when_there_is_room(
    pool: LocalPool, caller: Caller, disk: SmallDisk
) -> None:
    server = await started(pool, disk)
    kept = await caller.active(small(10))
    await eventually(lambda: _runs_only(disk, kept.id), "it runs")
    disk.fill()
    server.kill()
    await caller.agents_are(inventory_pb2.AGENT_STATE_LOST, "server")
    server.start()
    await eventually(lambda: _runs_only(disk, kept.id), "what it held still runs")
    disk.make_room()
    await server.ready()
    await nodes_are(caller, schedulable=True)
    assert (await caller.get(kept.id)).state == ACTIVE
    assert runs(disk) == {kept.id}
    await no_findings(caller)


async def test_agent_that_cannot_open_its_journal_says_why_and_has_its_leases_afterwards(
    pool: LocalPool, caller: Caller, disk: SmallDisk
) -> None:
    server = await started(pool, disk)
    kept = await caller.active(small(10))
    await eventually(lambda: _runs_only(disk, kept.id), "it runs")
    assert await server.stop() == 0
    disk.fill()
    server.start()
    assert await server.ended() == 1
    assert "cannot use the journal" in server.log_of_this_life
    assert "0.0 MiB are free" in server.log_of_this_life
    disk.make_room()
    server.start()
    await server.ready()
    assert runs(disk) == {kept.id}
    assert (await caller.get(kept.id)).state == ACTIVE
    await no_findings(caller)


async def test_agent_whose_disk_loses_what_it_was_given_ends_and_asks_the_disk_anew(
    pool: LocalPool, caller: Caller, seed: str
) -> None:
    """A sync that failed is never tried again: nobody knows what the disk has."""
    broker, region = pool.broker(), pool.region()
    for daemon in (broker, region):
        daemon.start()
        await daemon.ready()
    async with Load(pool.target, seed) as load:
        await load.progress(grants=10)
        async with no_sync(region.pid, pool.folder / "region.state"):
            assert await region.ended() == 1
        assert "cannot write the journal" in region.log_of_this_life
        region.start()
        await region.ready()
        await load.progress(grants=5)
    await whole_again(caller, load.book)


@pytest.mark.timeout(150)
async def test_nothing_is_lost_while_the_journals_run_out_of_room_again_and_again(
    pool: LocalPool, caller: Caller, disk: SmallDisk, seed: str
) -> None:
    rng = random.Random(f"{seed}:journals")
    broker, region = pool.broker(), pool.region(state_dir=str(disk.folder / "region"))
    for daemon in (broker, region):
        daemon.start()
        await daemon.ready()
    async with Load(pool.target, seed, may_end=True) as load:
        for _ in range(6):
            await load.progress(grants=rng.randint(1, 20))
            disk.fill(leave_kib=rng.choice((0, 0, 16, 256, SHORT_KIB)))
            await load.progress(grants=0, answers=rng.randint(5, 40))
            disk.make_room()
        await load.progress(grants=5)
    assert region.running
    assert "JOURNAL_FULL" in region.log, "no lease met a full journal"
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    await whole_again(caller, load.book, may_end=True)
