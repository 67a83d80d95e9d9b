"""Leases that come back from agents after the store was lost: each clause of the rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.adoption import adopt, cannot_have_known
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.reconcile import Held, HeldState
from computepool_broker.ledger.transaction import Blocker, EpochStart
from computepool_broker.model.amounts import MAX_HELD
from computepool_broker.model.records import AllocationState, EndReason, PartState
from support.builders import (
    apply,
    commit,
    make_allocation,
    make_held,
    make_held_record,
    make_node,
    make_part,
    make_state,
    whole,
)

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState

RESERVED, ACTIVE = AllocationState.RESERVED, AllocationState.ACTIVE


def bring_back(tables: LedgerState, held: Held, agent: str = "a1") -> None:
    apply(tables, adopt(tables, agent, held, 1_000))
    assert check_invariants(tables) == []


# -- could this store have known it? ---------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "epoch", "revision", "want"),
    [
        ("store-0", 1, 1, True),  # granted by another store
        ("store-1", 3, 7, False),  # of this epoch, and all of it is known
        ("store-1", 3, 8, True),  # of this epoch, but later than all that is known
        ("store-1", 4, 1, True),  # of an epoch that this store never had
        ("store-1", 2, 4, False),  # of the last epoch, before the restored copy was made
        ("store-1", 2, 5, True),  # of the last epoch, lost with the copy's restoring
        ("store-1", 1, 1, True),  # of an epoch of which nothing is kept
    ],
)
def test_only_what_this_store_could_not_know_can_come_back(
    identity: str, epoch: int, revision: int, want: bool
) -> None:
    tables = make_state(make_node())
    tables.epoch, tables.revision, tables.epochs = 3, 7, {2: 4}
    record = make_held_record(identity=identity, epoch=epoch, revision=revision).record
    assert record is not None
    assert cannot_have_known(tables, record) is want
    held = make_held_record(identity=identity, epoch=epoch, revision=revision)
    assert (adopt(tables, "a1", held, 0) is not None) is want


def test_beginning_an_epoch_remembers_what_was_known_of_the_last() -> None:
    tables = make_state(make_node())
    commit(tables, new_epoch=EpochStart(7, 2))
    assert (tables.epoch, tables.epochs) == (7, {1: 2})
    assert [tables.known_through(epoch) for epoch in (1, 7, 8)] == [2, tables.revision, 0]


# -- what cannot come back -------------------------------------------------------------------


def test_a_lease_without_its_record_is_not_adopted() -> None:
    assert adopt(make_state(make_node()), "a1", make_held(), 0) is None


@pytest.mark.parametrize("state", [HeldState.REFUSED, HeldState.RELEASING, HeldState.STOPPED])
def test_a_lease_that_is_ending_at_its_agent_is_not_adopted(state: HeldState) -> None:
    assert adopt(make_state(make_node()), "a1", make_held_record(state=state), 0) is None


def test_a_lease_on_an_unknown_node_or_another_agents_is_not_adopted() -> None:
    tables = make_state(make_node(), make_node("n2", agent="a2"))
    assert adopt(tables, "a1", make_held_record(node="n3"), 0) is None
    assert adopt(tables, "a1", make_held_record(node="n2"), 0) is None
    assert adopt(tables, "a2", make_held_record(node="n2"), 0) is not None


def test_a_lease_of_an_allocation_that_the_ledger_has_is_not_adopted() -> None:
    tables = make_state(make_node(), allocations=[make_allocation("x")])
    assert adopt(tables, "a1", make_held_record("x"), 0) is None


def test_adopted_amounts_that_no_store_can_count_are_refused_by_the_commit() -> None:
    tables = make_state(make_node())
    huge = make_held_record(amounts=(("cpu_milli", MAX_HELD),))
    bring_back(tables, huge)
    again = adopt(tables, "a1", make_held_record("y"), 0)
    with pytest.raises(AssertionError, match="NO_FIT"):
        apply(tables, again)


# -- what comes back -------------------------------------------------------------------------


def test_an_adopted_lease_has_its_amounts_its_request_id_and_its_state() -> None:
    tables = make_state(make_node())
    bring_back(tables, make_held_record(amounts=whole("n1", 0), request_id="r"))
    x = tables.allocations["x"]
    assert (x.state, x.adopted, x.flags) == (ACTIVE, True, ())
    assert x.parts[0].state is PartState.STARTED
    assert tables.nodes["n1"].used == {"d/n1-d0": 1000}
    assert tables.request_ids == {("default", "r"): "x"}
    assert tables.nodes["n1"].blockers == 0


def test_a_lease_comes_back_also_onto_a_node_that_is_too_small_or_blocked() -> None:
    tables = make_state(make_node(gpus=0, cpu=0, unschedulable=True))
    bring_back(tables, make_held_record(amounts=(("cpu_milli", 5000),)))
    assert tables.nodes["n1"].used == {"cpu_milli": 5000}


def test_parts_of_a_gang_come_back_one_by_one() -> None:
    tables = make_state(make_node(), make_node("n2", agent="a2"))
    bring_back(tables, make_held_record(index=1, count=2, state=HeldState.ADMITTED))
    assert tables.allocations["x"].state is RESERVED
    second = make_held_record(index=0, count=2, node="n2", state=HeldState.ADMITTED)
    bring_back(tables, second, "a2")
    x = tables.allocations["x"]
    assert [part.index for part in x.parts] == [0, 1]
    assert x.state is ACTIVE


def test_when_the_last_part_is_back_every_agent_is_rung_to_start() -> None:
    tables = make_state(make_node(), make_node("n2", agent="a2"))
    bring_back(tables, make_held_record(index=0, count=2, state=HeldState.ADMITTED))
    tables.take_touched()
    last = make_held_record(index=1, count=2, node="n2", state=HeldState.ADMITTED)
    bring_back(tables, last, "a2")
    assert set(tables.take_touched().agents) == {"a1", "a2"}


def test_a_started_part_shows_that_the_whole_gang_was_active() -> None:
    tables = make_state(make_node())
    bring_back(tables, make_held_record(index=0, count=2, state=HeldState.STARTED))
    assert tables.allocations["x"].state is ACTIVE


def test_the_same_part_comes_back_only_once() -> None:
    tables = make_state(make_node())
    held = make_held_record(count=2)
    bring_back(tables, held)
    assert adopt(tables, "a1", held, 0) is None


def test_a_part_does_not_come_back_to_what_has_ended_or_has_other_content() -> None:
    tables = make_state(make_node())
    bring_back(tables, make_held_record(index=0, count=3))
    other = make_held_record(index=1, count=3)
    assert other.record is not None
    changed = other._replace(record=other.record._replace(digest=b"other"))
    assert adopt(tables, "a1", changed, 0) is None
    apply(tables, lifecycle.end(tables, tables.allocations["x"], EndReason.RELEASED))
    assert adopt(tables, "a1", other, 0) is None


# -- contradictions --------------------------------------------------------------------------


def test_a_device_that_another_lease_has_is_flagged_and_its_node_blocked() -> None:
    there = make_allocation("x", make_part(amounts=whole("n1", 0)))
    tables = make_state(make_node(), allocations=[there])
    bring_back(tables, make_held_record("y", amounts=whole("n1", 0)))
    assert tables.allocations["y"].flags == ("device n1-d0 of n1 is granted twice",)
    assert tables.allocations["x"].flags == ()
    assert tables.nodes["n1"].used == {"d/n1-d0": 2000}
    assert tables.nodes["n1"].blockers == Blocker.CONFLICT


def test_two_shares_that_fit_on_one_device_are_no_contradiction() -> None:
    there = make_allocation("x", make_part(amounts=(("d/n1-d0", 400),)))
    tables = make_state(make_node(), allocations=[there])
    bring_back(tables, make_held_record("y", amounts=(("d/n1-d0", 600),)))
    assert tables.allocations["y"].flags == ()
    bring_back(tables, make_held_record("z", amounts=(("d/n1-d0", 1),)))
    assert tables.allocations["z"].flags == ("device n1-d0 of n1 is granted twice",)


def test_a_request_id_that_is_bound_elsewhere_evicts_nobody() -> None:
    tables = make_state(make_node(), allocations=[make_allocation("x", request_id="r")])
    bring_back(tables, make_held_record("y", request_id="r"))
    assert tables.allocations["y"].flags == ("request_id is bound to x",)
    assert tables.request_ids == {("default", "r"): "x"}
    assert tables.nodes["n1"].blockers == Blocker.CONFLICT


def test_the_node_is_free_again_when_its_last_flagged_lease_is_gone() -> None:
    there = make_allocation("x", make_part(amounts=whole("n1", 0)))
    tables = make_state(make_node(), allocations=[there])
    bring_back(tables, make_held_record("y", amounts=whole("n1", 0)))
    y = tables.allocations["y"]
    apply(tables, lifecycle.end(tables, y, EndReason.RELEASED))
    assert tables.nodes["n1"].blockers == Blocker.CONFLICT
    apply(tables, lifecycle.gone(tables, tables.allocations["y"], [0]))
    assert tables.nodes["n1"].blockers == 0
