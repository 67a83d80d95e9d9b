"""An agent fell silent over many leases: each cost as much as all before it, or a disk write."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from computepool_agents.answers import Arbiter
from computepool_agents.book import Book
from computepool_agents.model import RELEASING, Amounts, Change
from computepool_agents.works import Surroundings, Works
from fakes.agent_builders import admit, make_answer, make_held, make_node, make_record
from fakes.agent_runner import SmallEngine

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import pytest

    from computepool.v1 import types_pb2


def test_a_thousand_leases_of_one_node_are_admitted_at_the_cost_of_a_thousand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    whole = Amounts.of

    def counted(resources: types_pb2.Resources) -> Amounts:
        nonlocal looks
        looks += 1
        return whole(resources)

    monkeypatch.setattr(Amounts, "of", counted)
    records = [make_record(f"a{at}.0.0", cpu=1, memory=1) for at in range(1_000)]
    arbiter = Arbiter(Book(), {}, {"n1": make_node(cpu=1_000, memory=1_000)}, lambda _: None)
    plan = arbiter.plan(make_answer(*(admit(record) for record in records)))
    assert len(plan.change.puts) == len(records)
    assert looks <= 4 * len(records)


class SlowDisk:
    """Counts commits; each takes some turns of the event loop."""

    commits = 0

    async def commit(self, _: Change) -> None:
        """See Durable."""
        self.commits += 1
        for _turn in range(5):
            await asyncio.sleep(0)


async def test_leases_that_end_together_are_noted_together() -> None:
    leases = [make_held(f"a{at}.0.0", state=RELEASING) for at in range(500)]
    book, disk, tasks = Book(leases), SlowDisk(), []

    def spawn(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    around = Surroundings(spawn, lambda: None, random.Random(1), structlog.get_logger())
    works = Works(book, disk, SmallEngine(), around)
    works.resume()
    await asyncio.gather(*tasks)
    assert not book.held
    assert disk.commits <= 5
