"""What an agent does with its leases, over real gRPC, at good and bad moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.agent_builders import admit, make_answer, make_record
from fakes.agent_runner import SmallEngine, running_agent

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.scripted_broker import ScriptedBroker


async def test_lease_is_admitted_then_started_then_torn_down(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record(devices={"n1-d0": 1000}))
        await broker.until_states({"a1.0.0": "STARTED"})
        assert running.engine.real == {"a1.0.0"}
        broker.release("a1.0.0")
        await broker.until_states({})
        assert running.engine.real == set()


async def test_nothing_starts_before_it_is_told_to(broker: ScriptedBroker, tmp_path: Path) -> None:
    broker.activate = False
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "ADMITTED"})
        seen = len(broker.reports)
        broker.ring()
        await broker.until(lambda: len(broker.reports) > seen)
        assert running.engine.real == set()


async def test_refusal_is_reported_until_revoked_with_nodes_measured_anew(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record(cpu=9))
        await broker.until(lambda: broker.refusals == {"a1.0.0": "DOES_NOT_FIT"})
        refused = next(report for report in broker.reports if report.leases)
        assert refused.states() == {"a1.0.0": "REFUSED"}
        assert refused.nodes
        await broker.until_states({})


async def test_restart_keeps_leases_and_counts_the_session(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "STARTED"})
    engine = SmallEngine()
    async with running_agent(broker.target, tmp_path, engine=engine) as running:
        await running.ready.wait()
        assert engine.real == {"a1.0.0"}
    assert [opened.session for opened in broker.opened] == [1, 2]
    assert broker.opened[1].held_leases == 1
    assert broker.opened[1].seen.revision > 1
    assert broker.opened[0].journal_id == broker.opened[1].journal_id
    assert broker.reports[-1].states() == {"a1.0.0": "STARTED"}
    assert broker.reports[-1].leases["a1.0.0"].record == broker.want["a1.0.0"]


async def test_teardown_goes_on_after_a_restart(broker: ScriptedBroker, tmp_path: Path) -> None:
    engine = SmallEngine()
    async with running_agent(broker.target, tmp_path, engine=engine) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "STARTED"})
        engine.may_stop.clear()
        broker.release("a1.0.0")
        await broker.until_states({"a1.0.0": "RELEASING"})
    engine = SmallEngine()
    async with running_agent(broker.target, tmp_path, engine=engine):
        await broker.until_states({})
        assert engine.stopped == ["a1.0.0"]


async def test_teardown_is_repeated_until_it_is_done(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "STARTED"})
        running.engine.stop_errors = 2
        broker.release("a1.0.0")
        await broker.until_states({})
        assert running.engine.stop_errors == 0


async def test_failed_start_stops_the_lease(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        running.engine.start_error = "no such queue"
        broker.grant(make_record())
        await broker.until(
            lambda: any("STOPPED" in report.states().values() for report in broker.reports)
        )
        report = next(r for r in broker.reports if "STOPPED" in r.states().values())
        assert report.leases["a1.0.0"].reason == "START_FAILED"
        assert report.leases["a1.0.0"].message == "no such queue"
        await broker.until_states({})


async def test_slow_start_holds_up_no_report_and_counts_when_done(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        running.engine.may_start.clear()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "ADMITTED"})
        seen = len(broker.reports)
        await broker.until(lambda: len(broker.reports) > seen)
        running.engine.may_start.set()
        await broker.until_states({"a1.0.0": "STARTED"})


async def test_revoked_while_it_starts(broker: ScriptedBroker, tmp_path: Path) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        running.engine.may_start.clear()
        broker.grant(make_record())
        await broker.until_states({"a1.0.0": "ADMITTED"})
        seen = len(broker.reports)
        await broker.until(lambda: len(broker.reports) > seen)
        broker.release("a1.0.0")
        await broker.until_states({})
        assert running.engine.real == set()


async def test_admission_and_revocation_of_many_in_one_answer(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path) as running:
        await running.ready.wait()
        records = [make_record(f"a{i}.0.0", cpu=1, memory=1) for i in range(10)]
        broker.sync_script.append(make_answer(*(admit(record) for record in records), revision=50))
        broker.want = {record.lease_id: record for record in records}
        broker.mark.revision = 50
        broker.ring()
        await broker.until(lambda: len(broker.refusals) == 2)
        assert set(broker.refusals.values()) == {"DOES_NOT_FIT"}
        await broker.until(lambda: list(broker.reports[-1].states().values()) == ["STARTED"] * 8)
