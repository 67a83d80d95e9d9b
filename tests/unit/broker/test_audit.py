"""The audit names what is wrong: each kind of disagreement, made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.services.audit import FindingKind
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_held, make_held_record, make_node, make_spec, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.services.audit import Finding


async def started(kit: BrokerKit) -> str:
    made = await kit.create(make_spec(gpus=1, cpu=1))
    await kit.report(held=[make_held(f"{made.id}.0.0", HeldState.STARTED)])
    return made.id


async def findings(kit: BrokerKit) -> list[Finding]:
    return (await kit.auditor.run()).findings


async def test_a_pool_in_order_has_no_findings() -> None:
    async with running_broker(make_node()) as kit:
        await started(kit)
        await kit.create(make_spec(gpus=2))
        assert await findings(kit) == []
        assert kit.pool.audit_findings == 0


def forget_an_amount(kit: BrokerKit) -> None:
    del kit.pool.state.nodes["n1"].used["cpu_milli"]


def count_a_lease_twice(kit: BrokerKit) -> None:
    kit.pool.state.nodes["n1"].leases += 1


def lose_an_index_entry(kit: BrokerKit) -> None:
    kit.pool.state.agents["a1"].leases.clear()


def end_without_reason(kit: BrokerKit) -> None:
    (allocation,) = kit.pool.state.allocations.values()
    allocation.state = type(allocation.state).ENDED


@pytest.mark.parametrize(
    "falsify", [forget_an_amount, count_a_lease_twice, lose_an_index_entry, end_without_reason]
)
async def test_books_that_do_not_add_up(falsify: Callable[[BrokerKit], None]) -> None:
    async with running_broker(make_node()) as kit:
        await started(kit)
        falsify(kit)
        assert FindingKind.BOOKS in {f.kind for f in await findings(kit)}


@pytest.mark.parametrize("column", ["free", "ok", "free_milli", "free_whole"])
async def test_a_view_that_differs_from_the_ledger(column: str) -> None:
    async with running_broker(make_node()) as kit:
        assert await findings(kit) == [], "and the view has caught up with the ledger"
        row = kit.pool.state.nodes["n1"].row
        array = getattr(kit.pool.columns, column)
        if column == "ok":
            array[row] = False
        else:
            array[..., row] += 1
        (finding,) = {f.kind for f in await findings(kit)}
        assert finding is FindingKind.VIEW


async def test_a_lease_started_by_its_agents_own_word_and_gone_is_a_phantom() -> None:
    async with running_broker(make_node()) as kit:
        key = await started(kit)
        await kit.report(held=[])
        (finding,) = await findings(kit)
        assert (finding.kind, finding.lease_id) == (FindingKind.PHANTOM, f"{key}.0.0")


async def test_a_lease_held_twice_against_the_ledger_is_an_orphan() -> None:
    async with running_broker(make_node()) as kit:
        stray = make_held("y.0.0", HeldState.STARTED)
        await kit.report(held=[stray])
        assert await findings(kit) == [], "it was told to let go, and may be about to"
        await kit.report(held=[stray])
        (finding,) = await findings(kit)
        assert (finding.kind, finding.lease_id) == (FindingKind.ORPHAN, "y.0.0")


async def test_a_node_that_shrank_under_leases_is_overcommitted() -> None:
    async with running_broker(make_node(cpu=1)) as kit:
        key = await started(kit)
        held = [make_held(f"{key}.0.0", HeldState.STARTED)]
        await kit.report([make_node(cpu=0)], held)
        (finding,) = await findings(kit)
        assert (finding.kind, finding.node) == (FindingKind.OVERCOMMIT, "n1")
        assert "1000" in finding.message


async def test_an_adopted_lease_that_contradicts_the_ledger_is_a_conflict() -> None:
    async with running_broker(make_node()) as kit:
        made = await kit.create(make_spec(gpus=1))
        device = next(key for key, _ in made.parts[0].amounts)
        assert ((device, 1000),) == whole("n1", int(device[-1]))
        await kit.open()
        adopted = make_held_record("y", amounts=((device, 1000),))
        await kit.report([make_node()], [adopted], applied=0)
        kinds = {f.kind for f in await findings(kit)}
        assert FindingKind.CONFLICT in kinds
        assert FindingKind.BOOKS not in kinds
