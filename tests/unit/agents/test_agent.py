"""The agent's conversation with a broker over real gRPC: reports, sessions, answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from computepool.v1 import types_pb2
from computepool_agents.link import RejectedError
from computepool_agents.model import Amounts
from fakes.agent_builders import make_answer, make_node, make_record, revoke
from fakes.agent_runner import running_agent
from fakes.scripted_services import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.scripted_broker import ScriptedBroker

UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, "STORE_DOWN")
STALE = Failure(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STALE")


async def test_first_report_is_whole_and_makes_ready(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await asyncio.wait_for(running.ready.wait(), 10)
    report = broker.reports[0]
    assert list(report.nodes) == ["n1"]
    assert (report.head.sequence, report.head.applied_revision) == (1, 0)
    assert not report.head.nodes_unchanged
    assert broker.opened[0].session == 1
    assert [close.session for close in broker.closed] == [1]


async def test_unchanged_nodes_are_not_repeated_and_records_neither(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        report = await broker.until_states({"a1.0.0": "STARTED"})
        assert report.head.nodes_unchanged
        assert not report.nodes
        assert not report.leases["a1.0.0"].HasField("record")
        running.engine.measured = (make_node(cpu=7),)
        broker.ring()
        await broker.until(lambda: bool(broker.reports[-1].nodes))
        assert broker.reports[-1].nodes["n1"].total.cpu_milli == 7000


async def test_want_full_brings_nodes_and_records(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "STARTED"})
        broker.want_full = True
        seen = len(broker.reports)
        broker.ring()
        await broker.until(lambda: len(broker.reports) > seen)
        broker.ring()
        await broker.until(lambda: len(broker.reports) > seen + 1)
        assert broker.reports[-1].nodes
        assert broker.reports[-1].leases["a1.0.0"].record.request_id == "request-a1.0.0"


async def test_stale_session_is_followed_by_the_next(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.sync_script.append(STALE)
        broker.ring()
        await broker.until(lambda: bool(broker.reports) and broker.reports[-1].head.session == 2)
    assert [opened.session for opened in broker.opened] == [1, 2]


async def test_stale_doorbell_opens_the_next_session(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    broker.watch_script.append(STALE)
    async with running_agent(broker.target, tmp_path):
        await broker.until(lambda: bool(broker.reports) and broker.reports[-1].head.session == 2)


async def test_retried_open_keeps_its_number(broker: ScriptedBroker, tmp_path: Path) -> None:
    broker.open_script.extend([UNAVAILABLE, UNAVAILABLE])
    async with running_agent(broker.target, tmp_path) as running:
        await asyncio.wait_for(running.ready.wait(), 10)
    assert [opened.session for opened in broker.opened] == [1, 1, 1]


async def test_retried_report_is_numbered_anew_and_shows_things_as_they_are(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        running.engine.measured = (make_node(foreign=Amounts(cpu_milli=500)),)
        broker.sync_script.append(UNAVAILABLE)
        broker.ring()
        await broker.until(lambda: len(broker.reports) > 1)
    assert [report.head.sequence for report in broker.reports[:2]] == [1, 3]
    assert broker.reports[1].nodes["n1"].foreign.cpu_milli == 500


@pytest.mark.parametrize(
    "failure",
    [
        Failure(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STALE"),
        Failure(grpc.StatusCode.ALREADY_EXISTS, "AGENT_NAME_TAKEN"),
        Failure(grpc.StatusCode.FAILED_PRECONDITION, "PROTOCOL_UNSUPPORTED"),
        Failure(grpc.StatusCode.INVALID_ARGUMENT, "EPOCH_IMPLAUSIBLE"),
        Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
async def test_rejected_agent_gives_up(
    broker: ScriptedBroker, tmp_path: Path, failure: Failure
) -> None:
    broker.open_script.append(failure)
    async with running_agent(broker.target, tmp_path) as running:
        error = await running.ended()
        assert isinstance(error, ExceptionGroup)
        assert error.subgroup(RejectedError) is not None
    assert len(broker.opened) == 1


async def test_broker_that_comes_back_finds_the_same_session(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "STARTED"})
        await broker.hang_up()
        seen = len(broker.reports)
        await broker.listen(broker.target)
        await broker.until(lambda: len(broker.reports) > seen)
        assert broker.reports[-1].head.session == 1
        assert running.engine.real == {"a1.0.0"}


async def test_older_epoch_is_not_applied_but_answered_with_a_new_session(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    broker.mark.epoch = 5
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "STARTED"})
        broker.sync_script.append(make_answer(revoke("a1.0.0"), epoch=4, revision=1_000))
        broker.ring()
        await broker.until(lambda: len(broker.opened) > 1)
        assert broker.opened[1].seen.epoch == 5
        await broker.until_states({"a1.0.0": "STARTED"})
        assert running.engine.stopped == []


async def test_another_store_counts_only_with_a_higher_epoch(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "STARTED"})
    broker.mark.CopyFrom(types_pb2.StoreMark(identity="store-2", epoch=1, revision=1))
    reports = len(broker.reports)
    async with running_agent(broker.target, tmp_path) as running:
        await broker.until(lambda: len(broker.opened) >= 4)
        assert len(broker.reports) == reports
        broker.mark.epoch = 2
        await broker.until(lambda: len(broker.reports) > reports)
        assert broker.reports[reports].states() == {"a1.0.0": "STARTED"}


async def test_old_answer_is_ignored(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        report = await broker.until_states({"a1.0.0": "STARTED"})
        old = report.head.applied_revision
        broker.sync_script.append(make_answer(revoke("a1.0.0"), revision=old))
        broker.ring()
        await broker.until(lambda: not broker.sync_script)
        seen = len(broker.reports)
        broker.ring()
        await broker.until(lambda: len(broker.reports) > seen)
        assert broker.reports[-1].states() == {"a1.0.0": "STARTED"}
