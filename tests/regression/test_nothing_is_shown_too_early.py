"""What was shown before it was durable, or never answered at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from computepool.v1 import inventory_pb2 as wire
from computepool_broker.errors import OutcomeUnknownError
from computepool_broker.rpc.inventory import InventoryServicer
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_node, make_spec
from support.memory_store import MemoryStore

NO_CALL: Any = None
TURNS = 20


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class SlowStore(MemoryStore):
    """Commits end one by one, when told to."""

    def finish_one(self) -> None:
        rows, done = self._under_way.pop(0)
        self._write(rows)
        done.set_result(None)


async def test_lists_and_views_show_only_what_is_durable() -> None:
    store = SlowStore()
    async with running_broker(make_node(), store=store) as kit:
        servicer = InventoryServicer(
            kit.inventory, kit.agents, kit.auditor, kit.pool, kit.lists, kit.watches
        )
        before = kit.pool.state.revision
        store.hold = True
        nodes = asyncio.ensure_future(servicer.ListNodes(wire.ListNodesRequest(), NO_CALL))
        view = asyncio.ensure_future(servicer.GetView(wire.GetViewRequest(), NO_CALL))
        await turns()
        grant = asyncio.ensure_future(kit.create(make_spec(gpus=1)))
        await turns()
        store.finish_one()
        shown, seen = await nodes, await view
        assert not grant.done()
        assert not any(d.granted_milli for d in shown.nodes[0].devices)
        assert (seen.mark.revision, seen.allocations) == (before, 0)
        store.let_go()
        await grant


class BrokenStore(MemoryStore):
    """Fails where no store should: before it has begun to write."""

    def commit(self) -> Any:
        if self.fail:
            raise RuntimeError("a bug")
        return super().commit()


async def test_a_store_that_fails_before_it_writes_leaves_nobody_waiting() -> None:
    store = BrokenStore()
    kit = BrokerKit(store)
    await kit.start()
    await kit.join()
    store.fail = True
    async with asyncio.timeout(5):
        with pytest.raises(OutcomeUnknownError, match="a bug"):
            await kit.create(make_spec(gpus=1))
        assert len(kit.failures) == 1
        await kit.pool.committer.stop()
