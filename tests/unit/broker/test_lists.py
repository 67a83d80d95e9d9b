"""Lists of a whole broker: what they can be asked for, what they refuse, whom they hold up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2 as inventory
from computepool_broker.rpc.inventory import InventoryServicer
from computepool_broker.services import lists, walks
from computepool_broker.services.grants import Create
from support.broker_kit import THREE, activate, running_broker
from support.builders import make_node, make_spec

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from support.broker_kit import BrokerKit

NO_CALL: Any = None


async def found(kit: BrokerKit, passing: str = "", order_by: str = "", **others: Any) -> list[str]:
    """Ids of the allocations of the first page."""
    request = wire.ListAllocationsRequest(filter=passing, order_by=order_by, **others)
    return [a.id for a in (await kit.lists.allocations(request)).allocations]


async def nodes(kit: BrokerKit, passing: str = "", order_by: str = "") -> list[str]:
    request = inventory.ListNodesRequest(filter=passing, order_by=order_by)
    return [n.name for n in (await kit.lists.nodes(request)).nodes]


async def agents(kit: BrokerKit, passing: str = "", order_by: str = "") -> list[str]:
    request = inventory.ListAgentsRequest(filter=passing, order_by=order_by)
    return [a.name for a in (await kit.lists.agents(request)).agents]


async def centers(kit: BrokerKit, passing: str = "", order_by: str = "") -> list[str]:
    request = inventory.ListCentersRequest(filter=passing, order_by=order_by)
    return [c.view.center for c in (await kit.lists.centers(request)).centers]


async def test_allocations_are_found_by_every_field() -> None:
    async with running_broker(*THREE) as kit:
        call = Create(
            "vision", "r-1", make_spec(gpus=2, ttl_s=120), "nightly run", (("team", "v/1"),)
        )
        one = (await kit.allocations.create(call, 0)).allocation.id
        two = await activate(kit, gpus=1, ttl_s=7200, centers=("c1",))
        for passing, want in {
            "state = ACTIVE": [two],
            "state != ACTIVE": [one],
            "end_reason = NONE": [one, two],
            f"id = {one}": [one],
            f"id > {one}": [two],
            "tenant = vision": [one],
            "tenant = v* AND -tenant = *x": [one],
            'request_id = "r-1"': [one],
            'description : "night"': [one],
            "labels:team": [one],
            "labels.team = v/*": [one],
            "labels.team != v": [one, two],
            "remaining_ttl < 10m": [one],
            "remaining_ttl >= 7200": [two],
            "create_time = 1970-01-01T00:16:40Z": [one, two],
            "create_time < 1970-01-01T00:16:40Z": [],
            "adopted = false": [one, two],
            "center = c1 AND node = n1 AND region = r1 AND model = H800": [one, two],
            "model = A100": [],
            "devices = 2": [one],
            "parts = 1 AND devices <= 1": [two],
        }.items():
            assert await found(kit, passing) == want, passing
        assert await found(kit, "", "remaining_ttl desc") == [two, one]
        assert await found(kit, "", "devices, id") == [two, one]
        assert await found(kit, "", "labels.team desc") == [one, two]
        assert await found(kit, "", "id desc") == [two, one]


async def test_ended_ones_are_found_only_when_asked_for() -> None:
    async with running_broker(*THREE) as kit:
        one = await activate(kit, gpus=1)
        await kit.allocations.release(one, "", "")
        await kit.report()
        assert await found(kit, "end_reason = RELEASED") == []
        assert await found(kit, "end_reason = RELEASED", include_ended=True) == [one]
        assert await found(kit, "remaining_ttl = 0", include_ended=True) == [one]


async def test_nodes_are_found_by_every_field() -> None:
    racks = [make_node("n1", labels={"rack": "7"}), make_node("n2", gpus=2, cpu=1)]
    async with running_broker(*racks) as kit:
        await kit.create(make_spec(gpus=1, cpu=1, milli=0))
        await kit.inventory.cordon_node("n1", "", on=True)
        holder = "n1" if kit.pool.state.nodes["n1"].leases else "n2"
        other = "n2" if holder == "n1" else "n1"
        free = {"n1": 8, "n2": 2}
        free[holder] -= 1
        for passing, want in {
            "name = *2": ["n2"],
            "labels.rack = 7": ["n1"],
            "schedulable = true": ["n2"],
            "blockers = CORDONED": ["n1"],
            "leases = 1": [holder],
            "leases < 1": [other],
            f"devices_free = {free['n1']}": ["n1"],
            "devices = 2": ["n2"],
            "cpu_milli = 1000": ["n2"],
            "center = c1 AND region = r1 AND agent = a1 AND model : H8": ["n1", "n2"],
            "age_ms < 1s": ["n1", "n2"],
            "age_ms < 0": [],
        }.items():
            assert await nodes(kit, passing) == want, passing
        assert await nodes(kit, "", "devices_free desc") == ["n1", "n2"]
        assert await nodes(kit, "", "labels.rack, name desc") == ["n2", "n1"]
        only = await kit.lists.nodes(inventory.ListNodesRequest(center="c2"))
        assert not only.nodes


async def test_shares_of_several_devices_are_no_free_device() -> None:
    async with running_broker(make_node(gpus=2)) as kit:
        await kit.create(make_spec(gpus=0, milli=100))
        assert await nodes(kit, "devices_free = 1") == ["n1"]


async def test_agents_are_found_by_every_field() -> None:
    async with running_broker(*THREE) as kit:
        await kit.tick(10_000)
        await kit.report(agent="a2")
        for passing, want in {
            "name = a1": ["a1"],
            "center = c3 AND region = r1": ["a3"],
            "state = ACTIVE AND backend = simulated": ["a1", "a2", "a3"],
            "state = LOST": [],
            "nodes = 1 AND leases = 0 AND refusals = 0": ["a1", "a2", "a3"],
            "last_sync_age_ms >= 10s": ["a1", "a3"],
            "version : 0": [],
        }.items():
            assert await agents(kit, passing) == want, passing
        assert await agents(kit, "", "last_sync_age_ms, name desc") == ["a2", "a3", "a1"]
        assert len((await kit.lists.agents(inventory.ListAgentsRequest(page_size=2))).agents) == 2


async def test_centers_are_found_by_every_field() -> None:
    async with running_broker(*THREE) as kit:
        await kit.create(make_spec(gpus=4, cpu=1, centers=("c2",)))
        await kit.inventory.cordon_center("c3", "", on=True)
        for passing, want in {
            "name = c1": ["c1"],
            "region = r1 AND role = core": ["c1", "c2", "c3"],
            "cordoned = true": ["c3"],
            "nodes = 1 AND nodes_schedulable = 0": ["c3"],
            "model = H800 AND devices = 8": ["c1", "c2", "c3"],
            "devices_free = 4": ["c2"],
            "use_percent > 49.9 AND use_percent <= 50": ["c2"],
            "agents = 1 AND agents_active = 1": ["c1", "c2", "c3"],
            "age_ms < 1m": ["c1", "c2", "c3"],
            "cpu_free_milli = 63000": ["c2"],
        }.items():
            assert await centers(kit, passing) == want, passing
        assert await centers(kit, "", "use_percent desc, name desc") == ["c2", "c3", "c1"]


async def test_a_center_is_listed_as_the_view_shows_it() -> None:
    async with running_broker(*THREE) as kit:
        await kit.create(make_spec(gpus=4))
        servicer = InventoryServicer(
            kit.inventory, kit.agents, kit.auditor, kit.pool, kit.lists, kit.watches
        )
        view = await servicer.GetView(inventory.GetViewRequest(precision="fp8"), NO_CALL)
        listed = await kit.lists.centers(inventory.ListCentersRequest(precision="fp8"))
        assert listed.precision == "fp8"
        assert [c.view for c in listed.centers] == [c for r in view.regions for c in r.centers]
        assert {(c.region, c.role) for c in listed.centers} == {("r1", "core")}


async def test_pages_go_on_while_rows_come_and_go() -> None:
    async with running_broker(*THREE) as kit:
        ids = [await activate(kit, cpu=1, centers=("c1",)) for _ in range(5)]
        request = wire.ListAllocationsRequest(page_size=2, order_by="create_time desc, id desc")
        first = await kit.lists.allocations(request)
        assert [a.id for a in first.allocations] == [ids[4], ids[3]]
        await activate(kit, cpu=1, centers=("c1",))
        await kit.allocations.release(ids[3], "", "")
        await kit.report()
        request.page_token = first.next_page_token
        second = await kit.lists.allocations(request)
        assert [a.id for a in second.allocations] == [ids[2], ids[1]]


async def test_what_time_changes_alone_keeps_its_place() -> None:
    async with running_broker(*THREE) as kit:
        ids = [(await kit.create(make_spec(cpu=1, ttl_s=600 + at))).id for at in range(4)]
        request = wire.ListAllocationsRequest(page_size=2, order_by="remaining_ttl")
        first = await kit.lists.allocations(request)
        await kit.tick(5_000)
        request.page_token = first.next_page_token
        second = await kit.lists.allocations(request)
        assert [a.id for a in (*first.allocations, *second.allocations)] == ids


# -- large lists ----------------------------------------------------------------------------


async def test_a_page_goes_into_one_message() -> None:
    async with running_broker(make_node(gpus=0, cpu=5000)) as kit:
        for at in range(8):
            labels = tuple((f"k{at}{n:02}", "x" * 256) for n in range(60))
            await kit.allocations.create(Create("t", "", make_spec(cpu=1), "", labels), 0)
        whole = await kit.lists.allocations(wire.ListAllocationsRequest())
        assert len(whole.allocations) == 8
        three = 3 * whole.allocations[0].ByteSize() + 40
        pages, request = [], wire.ListAllocationsRequest()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("computepool_broker.rpc.to_wire.PAGE_BYTES", three)
            while True:
                page = await kit.lists.allocations(request)
                pages.append(len(page.allocations))
                request.page_token = page.next_page_token
                if not request.page_token:
                    break
        assert pages == [3, 3, 2]


async def test_a_long_look_lets_others_through() -> None:
    async with running_broker(make_node(gpus=0, cpu=5000)) as kit:
        for _ in range(200):
            await kit.create(make_spec(cpu=1))
        slow = iter(range(10**9))
        kit.lists._service = lists.ListService(kit.pool, lambda: float(next(slow)))
        ended: list[str] = []

        async def timed(name: str, what: Awaitable[object]) -> None:
            await what
            ended.append(name)

        looking = timed("list", found(kit, "tenant = nobody"))
        granting = timed("grant", kit.create(make_spec(cpu=1)))
        assert 3 * walks.LOOK_EVERY < 200  # so the look needs several jobs
        async with asyncio.TaskGroup() as group:
            group.create_task(looking)
            group.create_task(granting)
        assert ended == ["grant", "list"]
