"""What agents did wrong with nobody to see it: contact not counted, files left behind."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from computepool_agents.backends.grants import Grants
from computepool_agents.backends.server import Reserve, ServerBackend
from computepool_agents.journal import Journal
from fakes.agent_builders import make_answer, make_record, revoke
from fakes.agent_runner import HandClock, running_agent
from fakes.scripted_broker import ScriptedBroker

if TYPE_CHECKING:
    from pathlib import Path

    from computepool.v1 import types_pb2


async def test_an_answer_that_says_nothing_new_is_contact_all_the_same(tmp_path: Path) -> None:
    clock = HandClock()
    async with (
        ScriptedBroker() as broker,
        running_agent(broker.target, tmp_path, clock=clock) as running,
    ):
        await running.ready.wait()
        broker.grant(make_record("a1.0.0", stop_after_s=3_000))
        report = await broker.until_states({"a1.0.0": "STARTED"})
        # As a broker does that waits for something slow: the same commands at one revision.
        again = make_answer(revoke("zz.0.0"), revision=report.head.applied_revision)
        clock.at_s += 20
        broker.sync_script.extend((again, again))
        first = len(broker.reports)
        broker.ring()
        await broker.until(lambda: len(broker.reports) > first)
        second = len(broker.reports)
        broker.ring()
        await broker.until(lambda: len(broker.reports) > second)
    journal = Journal.open(tmp_path, "agent-1")
    await journal.close()
    assert journal.saved.contact == clock.now()


class SlowGrants(Grants):
    """A disk that holds a write until it is told to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.writing = threading.Event()
        self.go_on = threading.Event()
        self.written = threading.Event()

    def write(self, record: types_pb2.LeaseRecord) -> None:
        self.writing.set()
        self.go_on.wait(10)
        super().write(record)
        self.written.set()


def files_of(folder: Path, lease_id: str) -> list[Path]:
    return list(folder.glob(f"*/{lease_id}*"))


async def test_a_start_that_was_given_up_leaves_no_file_behind(tmp_path: Path) -> None:
    grants, record = SlowGrants(tmp_path), make_record("a.0.0")
    backend = ServerBackend("n1", tmp_path, Reserve(), grants, None)
    await backend.adopt(())
    start = asyncio.create_task(backend.start(record))
    await asyncio.to_thread(grants.writing.wait, 10)
    start.cancel()
    await asyncio.wait([start])
    stop = asyncio.create_task(backend.stop(record))
    await asyncio.wait([stop], timeout=0.2)  # it may be done at once, or have to wait
    grants.go_on.set()
    await stop
    await asyncio.to_thread(grants.written.wait, 10)
    assert not files_of(tmp_path, "a.0.0")
