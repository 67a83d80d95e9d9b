"""A small world for the pool's state machine: a broker, its disk, agents, and the network.

Everything that decides is real: the broker's services over a store in memory, and the agents'
journals, books, arbiters and sessions. The world carries messages as bytes and can lose, double,
delay and reorder them; it lets time pass, kills processes, loses disks and restores backups.

Calls to the broker are tasks: while the disk holds commits back they stay under way, and a crash
ends them with their outcome unknown.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from computepool.v1 import agent_pb2
from computepool_broker.errors import PoolError, SessionStaleError
from computepool_broker.services.ids import AllocationIds
from support.broker_kit import BrokerKit
from support.builders import make_config
from support.memory_store import MemoryDisk, MemoryStore
from support.pool_nodes import make_nodes, reshaped
from support.pool_oracle import Oracle
from support.sim_agent import SimAgent

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Self

ROUNDS = 600
"""Turns of the event loop after which whatever is still under way waits for the test."""
NO_CALL: Any = None
"""The handlers of agents' calls ask nothing of the call itself."""
RETENTION_S = 60.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - journals of the test: fsync is cheap there

Late = tuple[str, object, bytes, float]


class World:
    """See the module. Every method returns when nothing can go on without the test."""

    def __init__(self, agents: int = 3, devices: int = 2) -> None:
        base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="pool-world-", dir=base))
        self._runner = asyncio.Runner()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = AllocationIds(Random(1).getrandbits)
        self.backup: tuple[MemoryDisk, list[tuple[int, int]]] | None = None
        self.late_requests: list[tuple[str, bytes]] = []
        self.late_answers: list[Late] = []
        self.stores = 1
        self.oracle = Oracle()
        self.agents = {
            name: SimAgent(name, f"c{at}", make_nodes(name, devices), self._folder / name)
            for at, name in enumerate(f"a{number}" for number in range(1, agents + 1))
        }
        # One agent's reports come in many parts.
        self.agents["a1"].part_bytes = 400
        self.store = MemoryStore()
        self.run(self._begin())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self._runner.run(self._end())
        self._runner.close()
        shutil.rmtree(self._folder)

    async def _begin(self) -> None:
        await self._start_broker(self.store.disk)
        for agent in self.agents.values():
            await agent.start()

    async def _end(self) -> None:
        await self._kill_broker()
        for agent in self.agents.values():
            if agent.up:
                await agent.die()

    # -- running ---------------------------------------------------------------------------

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Run until it is done, or waits for the test; then all that must hold is checked."""
        self._runner.run(self._settle(work))
        self.oracle.check(self.agents.values())

    async def _settle(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
            if not self._under_way():
                break
        for done in [t for t in self._tasks if t.done()]:
            self._tasks.discard(done)
            if not done.cancelled():
                done.result()

    def _under_way(self) -> bool:
        return any(not t.done() for t in self._tasks) or any(
            a.tasks for a in self.agents.values() if a.up
        )

    # -- the broker ------------------------------------------------------------------------

    async def _start_broker(self, disk: MemoryDisk) -> None:
        self.store = MemoryStore(disk)
        config = make_config(retention_s=RETENTION_S)
        self.kit = BrokerKit(self.store, config, self._ids)
        await self.kit.start()
        self.oracle.broker_started(self.kit, disk)

    async def _kill_broker(self) -> None:
        me = asyncio.current_task()
        tasks = [t for t in self._tasks if t is not me] + self.kit.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def restart_broker(self) -> None:
        """The broker dies and another begins on the same disk."""

        async def work() -> None:
            await self._kill_broker()
            await self._start_broker(self.store.disk)

        self.run(work())

    def lose_store(self) -> None:
        """The broker dies and its disk with it."""

        async def work() -> None:
            await self._kill_broker()
            self.stores += 1
            self.oracle.store_lost(())
            await self._start_broker(MemoryDisk(identity=f"store-{self.stores}"))

        self.run(work())

    def take_backup(self) -> None:
        """Copy the disk."""
        disk = self.store.disk.backup()
        self.backup = (disk, self.oracle.history_through(disk.revision))

    def restore_backup(self) -> None:
        """The broker dies, and begins on the copy of its disk."""

        async def work() -> None:
            assert self.backup is not None
            disk, history = self.backup
            await self._kill_broker()
            self.oracle.store_lost(history, disk.backup())
            await self._start_broker(disk.backup())

        self.run(work())

    def tick(self) -> None:
        """Twenty seconds pass for all."""

        async def work() -> None:
            for agent in self.agents.values():
                agent.clock.at_s += 20
                if agent.up:
                    await agent.keep_contact_terms()
            self.oracle.check_presence()
            await self.kit.tick()

        self.run(work())

    # -- agents ----------------------------------------------------------------------------

    async def open(self, agent: SimAgent) -> None:
        """Begin a session; SessionStaleError and the like leave the agent without one."""
        request = (await agent.open_request()).SerializeToString()
        try:
            response = await self.kit.wire.OpenSession(
                agent_pb2.OpenSessionRequest.FromString(request), NO_CALL
            )
        except SessionStaleError as error:
            raise AssertionError(f"{agent.name} was refused a session: {error}") from error
        self.oracle.opened(agent)
        agent.opened(response)

    def report(self, name: str, fate: str = "delivered") -> None:
        """An agent opens a session if it has none, and reports; `fate` is the message's.

        Fates: delivered, lost, doubled, late, answer_lost, answer_late.
        """
        agent = self.agents[name]

        async def work() -> None:
            agent.call = asyncio.current_task()
            if agent.talk is None:
                await self.open(agent)
            await self._report(agent, fate)

        if agent.up and not agent.busy:
            self.run(work())

    async def _report(self, agent: SimAgent, fate: str) -> None:
        talk, sent_s = agent.talk, agent.clock.at_s
        messages = [m.SerializeToString() for m in await agent.report()]
        if fate == "late":
            self.late_requests += [(agent.name, m) for m in messages]
        if fate in ("late", "lost"):
            return
        watch = self.oracle.reporting(agent)
        answer = await self._sync(agent, messages)
        if fate == "doubled" and answer is not None:
            answer = await self._sync(agent, messages)
        if answer is None or agent.talk is not talk:
            return
        self.oracle.reported(agent, watch, answer)
        self.oracle.settled(agent, answer)
        if fate == "answer_late":
            self.late_answers.append((agent.name, talk, answer.SerializeToString(), sent_s))
        elif fate != "answer_lost":
            await agent.answered(answer, sent_s)
            self.oracle.applied(agent, answer)

    async def _sync(
        self, agent: SimAgent, messages: Sequence[bytes]
    ) -> agent_pb2.SyncResponse | None:
        answer = None
        for message in messages:
            request = agent_pb2.SyncRequest.FromString(message)
            try:
                answer = await self.kit.wire.Sync(request, NO_CALL)
            except SessionStaleError:
                agent.talk = None
                return None
            except PoolError:
                return None
        if answer is None or answer.part_accepted:
            return None
        answer = agent_pb2.SyncResponse.FromString(answer.SerializeToString())
        self.oracle.answered(answer)
        return answer

    def deliver_late_request(self, at: int) -> None:
        """A request of the past reaches the broker; nobody waits for the answer."""
        _, message = self.late_requests.pop(at % len(self.late_requests))

        async def work() -> None:
            try:
                await self.kit.wire.Sync(agent_pb2.SyncRequest.FromString(message), NO_CALL)
            except PoolError:
                return

        self.run(work())

    def deliver_late_answer(self, at: int, *, twice: bool) -> None:
        """An answer of the past reaches its agent, if the session that asked is still there."""
        name, talk, message, sent_s = self.late_answers.pop(at % len(self.late_answers))
        agent = self.agents[name]

        async def work() -> None:
            for _ in range(1 + twice):
                if agent.up and agent.talk is talk:
                    answer = agent_pb2.SyncResponse.FromString(message)
                    await agent.apply(answer, sent_s)
                    self.oracle.applied(agent, answer)

        self.run(work())

    def goodbye(self, name: str) -> None:
        """An agent stops in good order, and begins anew with its next report."""
        agent = self.agents[name]

        async def work() -> None:
            assert agent.talk is not None
            request, agent.talk = agent.talk.close_request(), None
            try:
                await self.kit.wire.CloseSession(request, NO_CALL)
            except PoolError:
                return

        self.run(work())

    def hang_teardowns(self, name: str, *, hangs: bool) -> None:
        """Teardowns of an agent wait from now on, or go on."""

        async def work() -> None:
            may_stop = self.agents[name].engine.may_stop
            if hangs:
                may_stop.clear()
            else:
                may_stop.set()

        self.run(work())

    def let_go(self) -> None:
        """The disk goes on with what it held back."""

        async def work() -> None:
            self.store.let_go()

        self.run(work())

    def kill_agent(self, name: str) -> None:
        """An agent's process ends at once."""
        self.run(self.agents[name].die())

    def start_agent(self, name: str) -> None:
        """An agent's process begins on its journal."""
        self.run(self.agents[name].start())

    def try_old_journal(self, name: str, copy: Path) -> None:
        """An older copy of an agent's journal is put to use: its session must be refused."""
        agent = self.agents[name]

        async def work() -> None:
            stale = SimAgent(name, agent.identity.center, (), copy)
            await stale.start()
            request = await stale.open_request()
            try:
                await self.kit.wire.OpenSession(request, NO_CALL)
            except SessionStaleError:
                return
            finally:
                await stale.die()
            raise AssertionError(f"session {request.session} of {name} was taken")

        self.run(work())

    def copy_journal(self, name: str, number: int) -> Path:
        """Copy a dead agent's journal."""
        folder = self._folder / f"{name}-copy-{number}"
        shutil.copytree(self.agents[name].folder, folder)
        return folder

    def reshape(self, name: str, place: int, shape: str) -> None:
        """Change what a node of an agent is: whole, smaller, sick, used by others, or gone."""
        agent = self.agents[name]
        nodes = list(make_nodes(name, len(agent.plan[0].devices)))
        changed = reshaped(nodes[place], shape)
        nodes[place : place + 1] = [] if changed is None else [changed]
        agent.engine.measured = tuple(nodes)
        self.oracle.reshaped = True
