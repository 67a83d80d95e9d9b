"""Contact terms of a running agent: what a silent broker ends, and what not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.agent_builders import make_record
from fakes.agent_runner import HandClock, running_agent

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.scripted_broker import ScriptedBroker


async def test_silent_broker_stops_what_is_to_stop_and_nothing_else(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    clock = HandClock()
    async with running_agent(broker.target, tmp_path, clock=clock) as running:
        await running.ready.wait()
        broker.grant(make_record("a1.0.0", stop_after_s=30))
        broker.grant(make_record("a2.0.0"))
        await broker.until_states({"a1.0.0": "STARTED", "a2.0.0": "STARTED"})
        await broker.hang_up()
        clock.at_s += 31
        await running.engine.until(lambda: running.engine.real == {"a2.0.0"})
        broker.activate = False
        broker.want.pop("a1.0.0")
        await broker.listen(broker.target)
        await broker.until(lambda: broker.reports[-1].states().get("a1.0.0") == "STOPPED")
        stopped = broker.reports[-1].leases["a1.0.0"]
        assert stopped.reason == "CONTACT_LOST"
        await broker.until_states({"a2.0.0": "STARTED"})


async def test_contact_term_runs_on_over_a_restart(broker: ScriptedBroker, tmp_path: Path) -> None:
    clock = HandClock()
    async with running_agent(broker.target, tmp_path, clock=clock) as running:
        await running.ready.wait()
        broker.grant(make_record("a1.0.0", stop_after_s=30))
        await broker.until_states({"a1.0.0": "STARTED"})
    await broker.hang_up()
    clock.at_s += 29
    async with running_agent(broker.target, tmp_path, clock=clock) as running:
        await running.engine.until(lambda: bool(running.engine.real))
        clock.at_s += 2
        await running.engine.until(lambda: not running.engine.real)


async def test_reboot_ends_stop_after_at_once_and_keeps_keep(
    broker: ScriptedBroker, tmp_path: Path
) -> None:
    async with running_agent(broker.target, tmp_path, clock=HandClock("boot-1")) as running:
        await running.ready.wait()
        broker.grant(make_record("a1.0.0", stop_after_s=30_000))
        broker.grant(make_record("a2.0.0"))
        await broker.until_states({"a1.0.0": "STARTED", "a2.0.0": "STARTED"})
    await broker.hang_up()
    async with running_agent(broker.target, tmp_path, clock=HandClock("boot-2")) as running:
        await running.engine.until(lambda: running.engine.stopped == ["a1.0.0"])
        assert running.engine.real == {"a2.0.0"}
