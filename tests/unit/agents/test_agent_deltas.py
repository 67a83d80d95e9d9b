"""Reports that name only what changed: when an agent sends them, and when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from computepool.v1 import agent_pb2 as wire
from computepool_agents.model import REFUSED, STARTED
from computepool_agents.report import Difference, Heading, Reporter
from computepool_agents.talk import Talk
from fakes.agent_builders import admit, make_answer, make_held, make_node, make_record
from fakes.agent_runner import SmallEngine, running_agent
from fakes.scripted_services import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from computepool_agents.model import Held, Node
    from fakes.scripted_broker import ScriptedBroker

NODES = tuple(make_node(f"n{number}") for number in range(10))
HELD = [make_held(f"a{number}.0.0", STARTED) for number in range(10)]
HEADING = Heading("agent-1", 3, 7, 99)


def begun(*, deltas: bool = True) -> Talk:
    features = ["delta"] if deltas else []
    return Talk.begun("agent-1", 1, wire.OpenSessionResponse(features=features))


def said(talk: Talk, held: Iterable[Held] = (), nodes: Iterable[Node] = NODES) -> wire.SyncRequest:
    (part,) = talk.report(Reporter(), held, nodes)
    return part


# -- what is sent ----------------------------------------------------------------------------


def test_the_first_report_is_whole_and_the_next_names_what_changed() -> None:
    talk = begun()
    first = said(talk, HELD)
    assert (first.delta, len(first.nodes), len(first.leases)) == (False, 10, 10)
    talk.delivered(want_full=False)
    busy = make_node("n3", cpu=1)
    new = make_held("b.0.0")
    second = said(talk, [*HELD[1:], new], [*NODES[:3], busy, *NODES[4:9]])
    assert (second.delta, second.base_sequence, second.sequence) == (True, 1, 2)
    assert [n.node for n in second.nodes] == ["n3"]
    assert list(second.nodes_gone) == ["n9"]
    assert [h.lease_id for h in second.leases] == ["b.0.0"]
    assert list(second.leases_gone) == ["a0.0.0"]
    assert not second.leases[0].HasField("record")


def test_an_unanswered_report_is_no_base() -> None:
    talk = begun()
    said(talk, HELD[:9])
    talk.delivered(want_full=False)
    said(talk, HELD)  # nobody knows whether it has arrived
    third = said(talk, HELD)
    assert (third.base_sequence, third.sequence, len(third.leases)) == (1, 3, 1)
    talk.delivered(want_full=False)
    assert said(talk, HELD).base_sequence == 3


def test_nothing_new_is_said_in_a_few_bytes() -> None:
    talk = begun()
    said(talk, HELD)
    talk.delivered(want_full=False)
    assert said(talk, HELD).ByteSize() < 40


def test_a_difference_as_large_as_the_whole_is_sent_whole() -> None:
    talk = begun()
    said(talk, HELD[:5])
    talk.delivered(want_full=False)
    all_new = said(talk, HELD[5:], [make_node(f"m{number}") for number in range(10)])
    assert not all_new.delta
    assert (len(all_new.nodes), len(all_new.leases)) == (10, 5)


def test_a_broker_that_takes_no_differences_gets_whole_reports() -> None:
    talk = begun(deltas=False)
    said(talk, HELD)
    talk.delivered(want_full=False)
    second = said(talk, HELD)
    assert (second.delta, second.base_sequence, second.nodes_unchanged) == (False, 0, True)
    assert len(second.leases) == 10


def test_want_full_is_answered_with_everything() -> None:
    talk = begun()
    said(talk, HELD)
    talk.delivered(want_full=True)
    again = said(talk, HELD)
    assert (again.delta, len(again.nodes)) == (False, 10)
    assert all(lease.HasField("record") for lease in again.leases)


def test_a_refused_difference_is_followed_by_a_whole_report_without_records() -> None:
    talk = begun()
    said(talk, HELD)
    talk.delivered(want_full=False)
    talk.doubted()
    again = said(talk, HELD)
    assert (again.delta, len(again.nodes), len(again.leases)) == (False, 10, 10)
    assert not any(lease.HasField("record") for lease in again.leases)


def test_a_difference_comes_in_parts_too_and_loses_nothing() -> None:
    changes = Difference(
        6,
        leases=[make_held(f"a{number}.0.0", REFUSED, "DOES_NOT_FIT") for number in range(50)],
        leases_gone=[f"b{number}.0.0" for number in range(200)],
        nodes=[make_node(f"n{number}", devices=8) for number in range(30)],
        nodes_gone=[f"m{number}" for number in range(200)],
    )
    parts = Reporter(part_bytes=2_000).difference(HEADING, changes)
    assert len(parts) > 3
    assert max(part.ByteSize() for part in parts) <= 2_100
    assert {(p.delta, p.base_sequence, p.sequence, p.parts) for p in parts} == {
        (True, 6, 7, len(parts))
    }
    assert [h.lease_id for p in parts for h in p.leases] == [h.lease_id for h in changes.leases]
    assert [n.node for p in parts for n in p.nodes] == [n.name for n in changes.nodes]
    assert [n for p in parts for n in p.leases_gone] == changes.leases_gone
    assert [n for p in parts for n in p.nodes_gone] == changes.nodes_gone


# -- over real gRPC --------------------------------------------------------------------------


def many_nodes() -> SmallEngine:
    return SmallEngine(make_node("n1"), make_node("n2"), make_node("n3"))


async def test_a_changed_node_alone_is_named(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path, engine=many_nodes()) as running:
        await running.ready.wait()
        running.engine.measured = (make_node("n1"), make_node("n2", cpu=7), make_node("n3"))
        broker.ring()
        await broker.until(lambda: "n2" in broker.reports[-1].nodes and len(broker.reports) > 1)
        assert list(broker.reports[-1].nodes) == ["n2"]
        assert broker.reports[-1].head.delta


async def test_a_lease_goes_its_way_by_differences(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path, engine=many_nodes()) as running:
        await running.ready.wait()
        for number in range(4):
            broker.grant(make_record(f"a{number}.0.0", cpu=1, memory=1))
        await broker.until_states({f"a{number}.0.0": "STARTED" for number in range(4)})
        broker.release("a0.0.0")
        report = await broker.until_states({f"a{n}.0.0": "STARTED" for n in range(1, 4)})
        assert report.head.delta
        assert list(report.head.leases_gone) == ["a0.0.0"]


async def test_a_refused_lease_names_its_node_again(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path, engine=many_nodes()) as running:
        await running.ready.wait()
        broker.grant(make_record(cpu=9))
        await broker.until(lambda: broker.refusals == {"a1.0.0": "DOES_NOT_FIT"})
        refused = next(report for report in broker.reports if report.leases)
        assert refused.head.delta
        assert list(refused.nodes) == ["n1"]


async def test_a_gap_is_closed_by_a_whole_report(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path, engine=many_nodes()) as running:
        await running.ready.wait()
        broker.reports[-1].head.sequence = 99  # the broker has forgotten the base
        seen = len(broker.reports)
        broker.next_sync_ms = 0
        broker.ring()
        await broker.until(lambda: bool(broker.asked_for_whole))
        broker.ring()
        await broker.until(lambda: len(broker.reports) > seen)
        assert not broker.reports[seen].head.delta
        assert len(broker.reports[seen].nodes) == 3


@pytest.mark.parametrize("reason", ["INVALID_FIELD", "REPORT_OUT_OF_ORDER"])
async def test_a_refused_report_is_followed_by_a_whole_one(
    broker: ScriptedBroker, tmp_path: Path, reason: str
) -> None:
    async with running_agent(broker.target, tmp_path, engine=many_nodes()) as running:
        await running.ready.wait()
        broker.sync_script.append(Failure(grpc.StatusCode.FAILED_PRECONDITION, reason))
        broker.ring()
        await broker.until(lambda: len(broker.reports) > 1)
        assert not broker.reports[1].head.delta
        assert len(broker.reports[1].nodes) == 3


async def test_a_lost_answer_leaves_the_base(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path, engine=many_nodes()) as running:
        await running.ready.wait()
        broker.sync_script.append(Failure(grpc.StatusCode.UNAVAILABLE, "STOPPING"))
        broker.ring()
        await broker.until(lambda: len(broker.reports) > 1)
        assert (broker.reports[1].head.delta, broker.reports[1].head.base_sequence) == (True, 1)


async def test_commands_held_back_by_want_full_are_taken_at_the_same_revision(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    """In a pool at rest the answer to the whole report has the revision of the one that asked."""
    async with running_agent(broker.target, tmp_path, engine=many_nodes()) as running:
        await running.ready.wait()
        broker.mark.revision = 5
        asks = make_answer(revision=5, next_sync_ms=0)
        asks.want_full = True
        record = broker.want["a1.0.0"] = make_record()
        broker.sync_script.extend([asks, make_answer(admit(record), revision=5)])
        broker.ring()
        await broker.until_states({"a1.0.0": "STARTED"})
    assert len(broker.reports) == 5, "asked, whole, admitted, started, and no time lost"


async def test_an_older_broker_gets_no_differences(broker: ScriptedBroker, tmp_path: Path) -> None:
    broker.features = []
    async with running_agent(broker.target, tmp_path, engine=many_nodes()) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "STARTED"})
        broker.sync_script.append(make_answer(revision=broker.mark.revision))
        broker.ring()
        await broker.until(lambda: not broker.sync_script)
    assert not any(report.head.delta for report in broker.reports)
