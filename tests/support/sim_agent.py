"""An agent whose network and time belong to the test: all of it is real but the waiting.

Its journal (on disk), book, arbiter, works, reporter and session memory are the agent's own, and
so is what it makes of an answer. The loops of computepool_agents.agent, which only wait and call,
are replaced by methods that the test calls.
"""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import structlog

from computepool_agents import contact
from computepool_agents.agent import CONTACT_LOST, Agent, Wiring
from computepool_agents.answers import continues
from computepool_agents.journal import Journal
from computepool_agents.link import Answer, SessionStaleError
from computepool_agents.model import STARTED, Mark
from computepool_agents.report import PART_BYTES, Reporter
from computepool_agents.talk import Identity, Talk
from computepool_agents.works import Surroundings, Works
from fakes.agent_runner import HandClock, SmallEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from computepool.v1 import agent_pb2, types_pb2
    from computepool_agents.admission import Refusal
    from computepool_agents.book import Book
    from computepool_agents.model import Node


class InlineExecutor(Executor):
    """Runs work at once, in the caller's thread: no race with the test's event loop."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See Executor."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits it
            future.set_exception(error)
        return future


class ChoosyEngine(SmallEngine):
    """A small engine that can say no to leases."""

    refusal: Refusal | None = None

    def veto(self, _record: types_pb2.LeaseRecord) -> Refusal | None:
        """The engine's own reason against a lease."""
        return self.refusal


class _NoLink:
    """Nothing is ever called on it: the test carries the messages."""


class SimAgent:
    """One agent; `up` is False between its death and its next start."""

    def __init__(self, name: str, center: str, nodes: tuple[Node, ...], folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock = HandClock(boot_id=f"boot-{name}")
        self.plan = nodes
        self.part_bytes = PART_BYTES
        self.only_wholes = False
        self.engine = ChoosyEngine(*nodes)
        self.identity = Identity(name, center, "r1", "core", "small", "1")
        self.talk: Talk | None = None
        self.session = 0
        self.up = False
        self.call: asyncio.Task[None] | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether a call of it is under way."""
        return self.call is not None and not self.call.done()

    @property
    def book(self) -> Book:
        """The leases held, as journalled."""
        return self._agent._book

    async def start(self) -> None:
        """A process begins on the journal."""
        self.up = True
        self.journal = Journal.open(self.folder, self.name)
        self.journal._thread.shutdown()
        self.journal._thread = InlineExecutor()  # type: ignore[assignment]
        log = structlog.get_logger()
        rng = random.Random(1)
        self._agent = Agent(
            self.identity,
            Wiring(_NoLink(), self.journal, self.engine, self.clock, rng, log, lambda: None),  # type: ignore[arg-type]
        )
        around = Surroundings(self._spawn, self._agent._changed, rng, log)
        self._agent._works = Works(self.book, self.journal, self.engine, around)
        self.talk = None
        self._reporter = Reporter(self.part_bytes)
        await self.engine.adopt(self.book.held.values())
        self._agent._works.resume()
        await self.keep_contact_terms()

    async def die(self) -> None:
        """The process ends at once; what is real stays real."""
        self.up, self.talk = False, None
        tasks, self.tasks = self.tasks, set()
        if self.call is not None:
            tasks.add(self.call)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.journal.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def keep_contact_terms(self) -> None:
        """Stop what the broker's silence has ended."""
        now = self.clock.now()
        for lease in contact.expired(list(self.book.held.values()), self.book.contact, now):
            self._agent._works.end(lease, CONTACT_LOST, "the broker was silent for too long")

    # -- messages --------------------------------------------------------------------------

    async def open_request(self) -> agent_pb2.OpenSessionRequest:
        """The request that begins the next session."""
        self.session = await self.journal.next_session()
        return self.identity.open_request(
            self.journal.saved.journal_id,
            self.session,
            self.book.seen,
            self.clock.now(),
            len(self.book.held),
        )

    def opened(self, response: agent_pb2.OpenSessionResponse) -> None:
        """Talk on in the new session, unless the store went back in time."""
        mark = Mark.of(response.mark)
        assert continues(mark, self.book.seen), (mark, self.book.seen)
        self.talk = Talk.begun(self.name, self.session, response)
        assert self.talk.deltas, "the broker says that it takes deltas"

    async def report(self) -> list[agent_pb2.SyncRequest]:
        """The next report, or its retry, of things as they are now."""
        assert self.talk is not None
        nodes = await self.engine.nodes(self.book.held)
        self._agent._nodes = {node.name: node for node in nodes}
        self.talk.deltas = not self.only_wholes
        return self.talk.report(self._reporter, self.book.held.values(), nodes)

    async def answered(self, response: agent_pb2.SyncResponse, sent_s: float) -> None:
        """A report was answered: note it and apply the answer."""
        assert self.talk is not None
        self.talk.delivered(want_full=response.want_full)
        await self.apply(response, sent_s)

    async def apply(self, response: agent_pb2.SyncResponse, sent_s: float) -> None:
        """Apply an answer, however late it comes; a stale one ends the session."""
        if self.talk is None:
            return
        try:
            await self._agent._apply(self.talk, Answer(response, sent_s))
        except SessionStaleError:
            self.talk = None

    # -- what is so ------------------------------------------------------------------------

    def states(self) -> dict[str, int]:
        """The state of each lease held."""
        return {key: int(held.state) for key, held in self.book.held.items()}

    def started_milli(self) -> dict[str, int]:
        """Thousandths of each device in leases that run."""
        sums: dict[str, int] = {}
        for held in self.book.held.values():
            if held.state == STARTED:
                for share in held.record.devices:
                    sums[share.device_id] = sums.get(share.device_id, 0) + share.milli
        return sums
