"""Looks at the pool when it is whole again, and holds it against what clients were told."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from chaos.clients import reason_word, state_of
from computepool.v1 import inventory_pb2
from support.caller import ACTIVE, ENDED, LIVE, Caller, spec
from support.local_pool import CENTERS
from support.processes import eventually

if TYPE_CHECKING:
    from chaos.world import World
    from computepool.v1 import allocation_pb2 as wire

WHOLE_S = 40.0
_SETTLED_S = 20.0
_ACTIVE_AGENT = inventory_pb2.AGENT_STATE_ACTIVE
PROBE_S = 3.0


class Judge:
    """Asks every broker directly; use it in an `async with` statement."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stack = AsyncExitStack()
        self._callers: list[Caller] = []
        self._told: dict[str, str] = {}
        self._probes = 0

    async def __aenter__(self) -> Self:
        for broker in self._world.brokers:
            self._callers.append(
                await self._stack.enter_async_context(Caller(broker.for_clients.address))
            )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    # -- whole again ------------------------------------------------------------------------

    async def whole(self) -> None:
        """Wait until every broker grants, with all agents and all servers behind it."""
        if self._world.ha is not None:
            await asyncio.to_thread(self._world.ha.wait_healthy, WHOLE_S)
        await eventually(self._all_served, "every broker serves", WHOLE_S)

    async def _all_served(self) -> bool:
        try:
            return all(await asyncio.gather(*(self._serves(each) for each in self._callers)))
        except grpc.aio.AioRpcError:
            return False

    async def _serves(self, caller: Caller) -> bool:
        agents = await caller.agents()
        if not all(name in agents and agents[name].state == _ACTIVE_AGENT for name in CENTERS):
            return False
        self._probes += 1
        made = await caller.create(spec(0, cpu_milli=1, memory_mib=1), f"probe-{self._probes}")
        await caller.release(made.allocation.id)
        return bool(made.allocation.state == ACTIVE)

    async def nodes(self) -> dict[str, dict[str, int]]:
        """What each node has for leases."""
        found = {}
        for node in (await self._callers[0].nodes()).values():
            free = {
                name: getattr(node.total, name) - getattr(node.reserved, name)
                for name in ("cpu_milli", "memory_mib", "disk_mib")
            }
            found[node.name] = free | {f"d/{d.device.id}": 1_000 for d in node.devices}
        return found

    # -- what is there ----------------------------------------------------------------------

    async def look(self) -> None:
        """With no call under way: note what there is, on which all brokers agree.

        Raises:
            AssertionError: they do not agree, something stays between two states, or an audit
                finds something, each for longer than it may take.
        """
        known: dict[str, wire.Allocation] = {}

        async def settled() -> bool:
            lists = await asyncio.gather(*(self._all_of(each) for each in self._callers))
            known.clear()
            known.update(lists[0])
            same = all({k: state_of(a) for k, a in each.items()} == states(known) for each in lists)
            return same and {a.state for a in known.values()} <= {ACTIVE, ENDED}

        await eventually(settled, "all is ACTIVE or ENDED, as every broker says", _SETTLED_S)
        live = {name: self._facts(a) for name, a in known.items() if a.state in LIVE}
        ended = {name: reason_word(a) for name, a in known.items() if a.state == ENDED}
        self._world.history.note("listed", live=live, ended=self._new(ended))
        await eventually(self._nothing_found, "the audit finds nothing", _SETTLED_S)

    async def _all_of(self, caller: Caller) -> dict[str, wire.Allocation]:
        # The probes are nobody's affair.
        return {a.id: a for a in await caller.all() if not a.request_id.startswith("probe-")}

    def _facts(self, allocation: wire.Allocation) -> dict[str, Any]:
        return {
            "tenant": allocation.tenant,
            "request_id": allocation.request_id,
            "state": state_of(allocation),
        }

    def _new(self, ended: dict[str, str]) -> dict[str, str]:
        new = {name: reason for name, reason in ended.items() if name not in self._told}
        self._told |= new
        return new

    async def _nothing_found(self) -> bool:
        for caller in self._callers:
            if await caller.findings():
                return False
        return True

    # -- the end ----------------------------------------------------------------------------

    async def empty(self) -> None:
        """Release everything, and note what is not back when it has had its time."""
        caller = self._callers[0]
        for name, allocation in (await self._all_of(caller)).items():
            if allocation.state in LIVE:
                await caller.release(name)
        left: dict[str, Any] = {"not looked": True}

        async def all_back() -> bool:
            left.clear()
            for node in (await caller.nodes()).values():
                granted = {d.device.id: d.granted_milli for d in node.devices if d.granted_milli}
                if granted or node.granted.cpu_milli or node.granted.memory_mib or node.leases:
                    left[node.name] = [granted, node.granted.cpu_milli, node.leases]
            return not left

        # What is not back by then is noted, and found wrong by the check.
        with suppress(AssertionError):
            await eventually(all_back, "all capacity is back", _SETTLED_S)
        live = [a.id for a in await caller.all(ended=False) if a.state in LIVE]
        findings = [f"{f.kind} {f.node} {f.lease_id} {f.message}" for f in await caller.findings()]
        self._world.history.note("final", live=live, granted=left, findings=findings)


def states(known: dict[str, wire.Allocation]) -> dict[str, str]:
    """The state of each, in one word."""
    return {name: state_of(allocation) for name, allocation in known.items()}
