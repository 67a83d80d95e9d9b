"""A whole broker without its wire: the real pool, writer, services and chores over one store."""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.model.records import AllocationState
from computepool_broker.rpc.agent import AgentServicer
from computepool_broker.rpc.answers import Answers
from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.rpc.lists import Lists
from computepool_broker.rpc.to_wire import SpecWriter
from computepool_broker.rpc.watches import WatchCalls
from computepool_broker.services.agents import AgentService
from computepool_broker.services.allocations import AllocationService
from computepool_broker.services.audit import Auditor
from computepool_broker.services.bulk import BulkService
from computepool_broker.services.chores import Chores
from computepool_broker.services.committer import Committer
from computepool_broker.services.explanations import Explanations
from computepool_broker.services.grants import Create, Grants
from computepool_broker.services.ids import AllocationIds
from computepool_broker.services.inventory import InventoryService
from computepool_broker.services.levels import Levels
from computepool_broker.services.lists import ListService
from computepool_broker.services.messages import Mark, Open, Report
from computepool_broker.services.pool import Pool
from computepool_broker.services.waits import Waits
from computepool_broker.services.watch_tokens import LIFE_BYTES
from support.builders import make_agent, make_config, make_held, make_node, make_spec
from support.memory_store import MemoryStore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable

    from computepool_broker.config import Config
    from computepool_broker.ledger.reconcile import Held
    from computepool_broker.model.records import AgentRecord, Allocation, NodeRecord
    from computepool_broker.model.request import Spec
    from computepool_broker.services.messages import Answer
    from computepool_broker.store.base import Store

THREE = [make_node(f"n{i}", agent=f"a{i}", center=f"c{i}") for i in (1, 2, 3)]
"""Three nodes, each of its own agent in its own center."""


class BrokerKit:
    """One life of a broker. Its clock moves only by `tick`."""

    def __init__(
        self,
        store: Store,
        config: Config | None = None,
        ids: AllocationIds | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self.store = store
        self.failures: list[BaseException] = []
        self.monotonic_ms = 0
        self.pool = Pool(config or make_config(), 0, lambda: 1_000_000)
        self.pool.committer = Committer(store, self.pool.on_durable, self.failures.append, gather_s)
        self.agents = AgentService(self.pool, lambda: 0.5)
        self.explanations, self.waits = Explanations(self.pool), Waits(self.pool)
        numbers = ids or AllocationIds(Random(1).getrandbits)
        self.grants = Grants(self.pool, numbers, self.explanations)
        self.allocations = AllocationService(self.pool, self.grants, self.waits)
        self.bulk = BulkService(self.pool, self.grants, self.waits)
        self.inventory = InventoryService(self.pool)
        self.levels = Levels(self.pool.config.ack_level, store)
        self.answers = answers = Answers(self.pool, SpecWriter(), self.levels)
        self.lists = Lists(self.pool, ListService(self.pool), self.inventory, answers)
        self.watches = WatchCalls(
            self.pool,
            answers,
            self.inventory,
            secrets.token_bytes(LIFE_BYTES),
            time.monotonic,
            Random(1).random,
        )
        self.auditor = Auditor(self.pool)
        self.chores = Chores(self.pool, self.auditor, lambda: self.monotonic_ms)
        self.wire = AgentServicer(self.agents, self.pool, SpecReader(), SpecWriter())
        self._sequences: dict[str, int] = {}

    async def start(self) -> None:
        """Open the store and begin to run jobs, as the daemon does."""
        await self.store.open(self.pool.state)
        self.pool.opened()
        self.pool.committer.start()

    async def stop(self) -> None:
        """Stop in good order."""
        self.watches.hang_up()
        await self.pool.committer.stop()
        await self.store.close()

    def kill(self) -> list[asyncio.Future[None]]:
        """Die at once: what is not on the disk is lost. Gives what was under way, cancelled."""
        committer = self.pool.committer
        tasks: list[asyncio.Future[None]] = [*committer._finishing]
        if committer._task is not None:
            tasks.append(committer._task)
        for task in tasks:
            task.cancel()
        return tasks

    async def tick(self, ms: int = 20_000, times: int = 1) -> None:
        """Let time pass and do the chores; a tick advances the service clock by 20 s at most."""
        for _ in range(times):
            self.monotonic_ms += ms
            self.pool.clock.tick(self.monotonic_ms)
            await self.chores._tick()

    # -- short ways to say things ----------------------------------------------------------

    async def create(self, spec: Spec, request_id: str = "", wait_s: float = 0) -> Allocation:
        """Create an allocation of the default tenant."""
        made, _ = await self.allocations.create(Create("default", request_id, spec), wait_s)
        return made

    async def open(self, record: AgentRecord | None = None, seen: Mark | None = None) -> int:
        """Open an agent's session; gives its number."""
        agent = record or make_agent()
        await self.agents.open_session(Open(agent, 1, seen or Mark("", 0, 0), 0))
        self._sequences[agent.name] = 0
        return agent.session

    async def report(
        self,
        nodes: Iterable[NodeRecord] | None = None,
        held: Iterable[Held] = (),
        *,
        agent: str = "a1",
        session: int = 1,
        applied: int | None = None,
        base: int = 0,
        nodes_gone: Iterable[str] = (),
        leases_gone: Iterable[str] = (),
    ) -> Answer:
        """Deliver a report; without `nodes` they are unchanged, without `applied` all is.

        With `base` it is the difference to the report of that number, else whole.
        """
        sequence = self._sequences[agent] = self._sequences.get(agent, 0) + 1
        return await self.agents.sync(
            Report(
                agent,
                session,
                sequence,
                0,
                1,
                self.pool.state.revision if applied is None else applied,
                list(held),
                list(nodes or ()),
                nodes is None and not base,
                0,
                bool(base),
                base,
                list(nodes_gone),
                list(leases_gone),
            )
        )

    async def join(self, *nodes: NodeRecord) -> None:
        """Bring agents into the pool, active, with these nodes; one of 8 devices without any."""
        by_agent: dict[str, list[NodeRecord]] = {}
        for node in nodes or (make_node(),):
            by_agent.setdefault(node.agent, []).append(node)
        for agent, theirs in by_agent.items():
            await self.open(make_agent(agent, center=theirs[0].center))
            await self.report(theirs, agent=agent)


@asynccontextmanager
async def running_broker(
    *nodes: NodeRecord, store: Store | None = None, config: Config | None = None
) -> AsyncIterator[BrokerKit]:
    """A broker that runs on a store in memory, with the agents of these nodes active."""
    kit = BrokerKit(store or MemoryStore(), config)
    await kit.start()
    try:
        if nodes:
            await kit.join(*nodes)
        yield kit
    finally:
        if isinstance(kit.store, MemoryStore):
            kit.store.let_go()
        await kit.stop()


async def activate(kit: BrokerKit, **spec: object) -> str:
    """An allocation that its agent a1 has started; gives its id."""
    made = await kit.create(make_spec(**spec))  # type: ignore[arg-type]
    held = [make_held(p.lease_id(made.id), HeldState.STARTED) for p in made.parts]
    await kit.report(held=held)
    assert kit.pool.state.allocations[made.id].state is AllocationState.ACTIVE
    return made.id
