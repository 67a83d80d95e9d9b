"""Runs real agents in the test's own event loop: real journal, real connection, small engine."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from computepool_agents.agent import Agent, Wiring
from computepool_agents.backends.base import BackendError
from computepool_agents.brokers import Directory, parse
from computepool_agents.clock import BootClock
from computepool_agents.journal import Journal
from computepool_agents.model import STARTED, Contact, Held, Node
from computepool_agents.roaming import Roaming
from computepool_agents.session import Channels
from computepool_agents.state_dir import StateDir
from computepool_agents.talk import Identity
from fakes.agent_builders import make_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

    from computepool.v1 import types_pb2
    from computepool_agents.admission import Refusal
    from computepool_agents.clock import Clock
    from computepool_agents.link import Link


class SmallEngine:
    """A backend of one node that notes what it is told, and fails when told to."""

    name = "small"

    def __init__(self, *nodes: Node) -> None:
        self.measured = nodes or (make_node(),)
        self.real: set[str] = set()
        self.stopped: list[str] = []
        self.start_error: str | None = None
        self.stop_errors = 0
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self._happened = asyncio.Condition()

    async def until(self, happened: Callable[[], bool], deadline_s: float = 15.0) -> None:
        """Wait until something is so; it is looked at after each start and stop."""
        async with asyncio.timeout(deadline_s), self._happened:
            await self._happened.wait_for(happened)

    async def _tell(self) -> None:
        async with self._happened:
            self._happened.notify_all()

    async def nodes(self, _held: Mapping[str, Held]) -> tuple[Node, ...]:
        return self.measured

    def veto(self, _record: types_pb2.LeaseRecord) -> Refusal | None:
        return None

    async def adopt(self, held: Iterable[Held]) -> None:
        self.real = {lease.lease_id for lease in held if lease.state == STARTED}
        await self._tell()

    async def start(self, record: types_pb2.LeaseRecord) -> None:
        await self.may_start.wait()
        if self.start_error is not None:
            raise BackendError(self.start_error)
        self.real.add(record.lease_id)
        await self._tell()

    async def stop(self, record: types_pb2.LeaseRecord) -> None:
        await self.may_stop.wait()
        if self.stop_errors:
            self.stop_errors -= 1
            raise BackendError("not yet")
        self.real.discard(record.lease_id)
        self.stopped.append(record.lease_id)
        await self._tell()


class HandClock:
    """A clock that the test moves."""

    def __init__(self, boot_id: str = "boot-1", at_s: float = 1_000.0) -> None:
        self.boot_id = boot_id
        self.at_s = at_s

    def now(self) -> Contact:
        return Contact(self.boot_id, self.at_s)


@dataclass
class Running:
    """An agent that runs, and what it is made of."""

    agent: Agent
    journal: Journal
    engine: SmallEngine
    ready: asyncio.Event
    stop: asyncio.Event
    task: asyncio.Task[None] = field(init=False)

    async def ended(self) -> BaseException | None:
        """Wait until the agent ends by itself; gives the error."""
        await asyncio.wait([self.task], timeout=15)
        assert self.task.done()
        return self.task.exception()


@asynccontextmanager
async def running_agent(
    target: str,
    folder: Path,
    *,
    engine: SmallEngine | None = None,
    clock: Clock | None = None,
    wrap: Callable[[Link], Link] = lambda link: link,
    name: str = "agent-1",
) -> AsyncIterator[Running]:
    """Start an agent of the brokers at `target`, and stop it, in good order, at the end."""
    clock = clock or BootClock()
    engine = engine or SmallEngine()
    ready = asyncio.Event()
    async with Channels(clock) as channels:
        with StateDir(folder):
            journal = Journal.open(folder, name)
            directory = Directory(parse(target))
            log = structlog.get_logger()
            wiring = Wiring(
                link=wrap(Roaming(name, directory, channels, clock, log)),
                journal=journal,
                backend=engine,
                clock=clock,
                rng=random.Random(name),
                log=log,
                on_ready=ready.set,
            )
            agent = Agent(Identity(name, "c1", "r1", "core", engine.name, "1"), wiring)
            running = Running(agent, journal, engine, ready, asyncio.Event())
            running.task = asyncio.create_task(agent.run(running.stop))
            try:
                yield running
            finally:
                running.stop.set()
                await asyncio.wait([running.task])
                await journal.close()
            if not running.task.cancelled() and running.task.exception() is None:
                await running.task
