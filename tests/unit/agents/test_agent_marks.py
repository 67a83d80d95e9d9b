"""What an agent makes of answers that are cut, or from a broker whose view is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_agents.answers import Verdict, verdict
from computepool_agents.model import Mark
from fakes.agent_builders import admit, make_answer, make_record, revoke
from fakes.agent_runner import Running, running_agent

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from computepool.v1 import agent_pb2
    from fakes.scripted_broker import ScriptedBroker


def cut(answer: agent_pb2.SyncResponse) -> agent_pb2.SyncResponse:
    answer.more = True
    return answer


async def test_the_rest_of_a_cut_answer_counts_at_the_same_revision(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    a, b = make_record("a1.0.0", cpu=1), make_record("a2.0.0", cpu=1)
    broker.activate = False
    broker.want = {each.lease_id: each for each in (a, b)}
    broker.mark.revision = 7
    broker.sync_script.append(cut(make_answer(admit(a), revision=7)))
    broker.sync_script.append(make_answer(admit(b), revision=7))
    async with running_agent(broker.target, tmp_path):
        await broker.until_states({"a1.0.0": "ADMITTED", "a2.0.0": "ADMITTED"})
    first, second, third, *_ = broker.reports
    assert first.states() == {}
    assert (second.states(), second.head.applied_revision) == ({"a1.0.0": "ADMITTED"}, 0)
    assert third.head.applied_revision == 7


def test_a_view_that_is_behind_commands_nothing() -> None:
    seen = Mark("store-1", 3, 10)
    for revision, want in ((9, Verdict.IGNORE), (10, Verdict.APPLY), (11, Verdict.APPLY)):
        answer = make_answer(revoke("a.0.0"), epoch=3, revision=revision)
        assert verdict(answer, seen, "store-1", applied_revision=0) is want
    later = make_answer(revoke("a.0.0"), epoch=4, revision=1)
    assert verdict(later, seen, "store-1", applied_revision=0) is Verdict.APPLY


async def holding(broker: ScriptedBroker, running: Running) -> None:
    """The agent has a lease that it was told of at revision 100; its broker then falls behind."""
    await running.ready.wait()
    broker.mark.revision = 100
    broker.grant(make_record())
    await broker.until_states({"a1.0.0": "STARTED"})
    broker.want.clear()
    broker.mark.revision = 10
    broker.ring()


async def test_leases_stay_while_a_broker_is_behind_and_it_is_asked_again_soon(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await holding(broker, running)
        seen = len(broker.reports)
        await broker.until(lambda: len(broker.reports) > seen + 3)
        assert broker.reports[-1].states() == {"a1.0.0": "STARTED"}
        record = make_record()
        broker.mark.revision = 200
        broker.grant(record)
        seen = len(broker.reports)
        await broker.until(lambda: len(broker.reports) > seen)
        assert running.engine.real == {"a1.0.0"}
        assert running.engine.stopped == []
    assert len(broker.opened) == 1


async def test_a_broker_that_stays_behind_is_shown_what_was_seen(
    broker: ScriptedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("computepool_agents.agent.MOST_BEHIND", 2)
    async with running_agent(broker.target, tmp_path) as running:
        await holding(broker, running)
        await broker.until(lambda: len(broker.opened) > 1)
        assert broker.opened[1].seen.revision > 100
        assert running.engine.real == {"a1.0.0"}
