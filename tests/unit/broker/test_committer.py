"""The writer: batches, what is handed out when, and what happens when the disk fails."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from computepool_broker.errors import OutcomeUnknownError, OverloadedError, StoppingError
from computepool_broker.ledger.state import LedgerState
from computepool_broker.ledger.transaction import PutAgent, Transaction
from computepool_broker.model.records import AgentState
from computepool_broker.services import committer as module
from computepool_broker.services.committer import Committer
from support.builders import make_agent
from support.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from computepool_broker.ledger.touched import Touched
    from computepool_broker.ledger.transaction import Outcome

    Stage = Callable[[Transaction], Outcome]

LONG_S = 60.0


class Writer:
    """A committer on a store in memory, and what it told."""

    def __init__(self, gather_s: float = 0.0) -> None:
        self.store = MemoryStore()
        self.durable: list[Touched] = []
        self.failures: list[BaseException] = []
        self.committer = Committer(self.store, self.durable.append, self.failures.append, gather_s)

    def write(self, name: str) -> asyncio.Future[str]:
        """Put an agent."""

        def job(stage: Stage) -> str:
            stage(Transaction(1, agents=(PutAgent(name, make_agent(name), AgentState.ACTIVE),)))
            return name

        return self.committer.submit(job)


@asynccontextmanager
async def writing(gather_s: float = 0.0) -> AsyncIterator[Writer]:
    writer = Writer(gather_s)
    await writer.store.open(LedgerState())
    writer.committer.start()
    try:
        yield writer
    finally:
        writer.store.let_go()
        await writer.committer.stop()


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_result_comes_only_when_it_is_durable() -> None:
    async with writing() as writer:
        writer.store.hold = True
        done = writer.write("a")
        await turns()
        assert "a" in writer.store.state.agents
        assert not done.done()
        writer.store.let_go()
        assert await done == "a"
        assert "a" in writer.store.disk.agents


async def test_a_read_waits_for_what_it_has_seen() -> None:
    async with writing() as writer:
        writer.store.hold = True
        first = writer.write("a")
        await turns()
        seen = writer.committer.submit(lambda _: "a" in writer.store.state.agents)
        await turns()
        assert not seen.done()
        writer.store.let_go()
        assert await seen is True
        assert await first == "a"


async def test_the_next_batch_runs_while_the_last_is_being_written() -> None:
    async with writing() as writer:
        writer.store.hold = True
        writer.write("a")
        await turns()
        writer.write("b")
        await turns()
        assert {"a", "b"} <= writer.store.state.agents.keys()
        writer.write("c")
        await turns()
        assert "c" not in writer.store.state.agents, "two commits are under way already"
        writer.store.finish_one()
        await turns()
        assert "c" in writer.store.state.agents


async def test_a_caller_alone_never_waits_for_others() -> None:
    async with writing(gather_s=LONG_S) as writer:
        for name in "abc":
            async with asyncio.timeout(5):
                assert await writer.write(name) == name


async def test_calls_that_come_together_share_one_commit() -> None:
    async with writing() as writer:
        await asyncio.gather(*(writer.write(f"a{number}") for number in range(50)))
        assert writer.committer.jobs == 50
        assert writer.committer.batches < 10


async def test_a_failed_write_makes_the_outcome_of_its_batch_and_of_all_after_it_unknown() -> None:
    async with writing() as writer:
        writer.store.fail = True
        first = writer.write("a")
        await turns()
        later = [writer.write("b"), writer.committer.submit(lambda _: "a read")]
        results = await asyncio.gather(first, *later, return_exceptions=True)
        assert [type(r) for r in results] == [OutcomeUnknownError] * 3
        assert writer.failures
        assert writer.durable == []


async def test_an_error_of_one_job_is_its_own() -> None:
    def bad(_: Stage) -> None:
        raise KeyError("mine")

    async with writing() as writer:
        good, broken = writer.write("a"), writer.committer.submit(bad)
        assert await good == "a"
        with pytest.raises(KeyError, match="mine"):
            await broken


async def test_a_job_whose_caller_has_gone_is_not_run() -> None:
    async with writing() as writer:
        gone, stays = writer.write("a"), writer.write("b")
        gone.cancel()
        assert await stays == "b"
        assert "a" not in writer.store.state.agents


async def test_a_caller_that_goes_while_its_job_is_written_stops_nobody() -> None:
    async with writing() as writer:
        writer.store.hold = True
        gone, stays = writer.write("a"), writer.write("b")
        await turns()
        gone.cancel()
        writer.store.let_go()
        assert await stays == "b"
        assert "a" in writer.store.disk.agents


async def test_more_jobs_than_the_queue_holds_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 3)
    async with writing() as writer:
        taken = [writer.write(name) for name in "abc"]
        with pytest.raises(OverloadedError) as refused:
            writer.write("d")
        assert refused.value.retry_after_ms
        assert await asyncio.gather(*taken) == ["a", "b", "c"]


async def test_stopping_finishes_what_was_taken_and_refuses_the_rest() -> None:
    async with writing() as writer:
        taken = [writer.write(name) for name in "abc"]
        await writer.committer.stop()
        assert [t.result() for t in taken] == ["a", "b", "c"]
        with pytest.raises(StoppingError):
            writer.write("d")
