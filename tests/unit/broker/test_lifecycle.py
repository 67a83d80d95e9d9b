"""Every arrow drawn in model/records.py, and that no other arrow is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.transaction import Rejected, RejectReason
from computepool_broker.model.records import (
    Allocation,
    AllocationState,
    EndReason,
    Part,
    PartState,
)
from computepool_broker.placement.places import Place
from support.builders import apply, make_allocation, make_node, make_part, make_spec, make_state

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState

RESERVED, ACTIVE = AllocationState.RESERVED, AllocationState.ACTIVE
RELEASING, ENDED = AllocationState.RELEASING, AllocationState.ENDED
CORE = (("cpu_milli", 1000),)


def parts(*states: PartState) -> tuple[Part, ...]:
    return tuple(make_part(index, state=state) for index, state in enumerate(states))


def table(allocation: Allocation) -> LedgerState:
    return make_state(make_node("n1"), make_node("n2"), allocations=[allocation])


def states(a: Allocation) -> list[PartState]:
    return [part.state for part in a.parts]


def test_a_grant_reserves_the_amounts_of_all_parts() -> None:
    state = make_state(make_node("n1"), make_node("n2"))
    draft = make_allocation("x", spec=make_spec(cpu=1, count=2))
    apply(state, lifecycle.grant(state, draft, [Place("n1", "", CORE), Place("n2", "", CORE)]))
    assert state.allocations["x"].state is RESERVED
    assert [state.nodes[n].used for n in ("n1", "n2")] == [dict(CORE), dict(CORE)]
    assert state.moving.keys() == {"x.0.0", "x.1.0"}


def test_one_admitted_part_of_two_leaves_it_reserved() -> None:
    state = table(make_allocation("x", *parts(PartState.PENDING, PartState.PENDING)))
    apply(state, lifecycle.progress(state, state.allocations["x"], 0, PartState.ADMITTED))
    assert state.allocations["x"].state is RESERVED


def test_the_last_admitted_part_makes_it_active_and_tells_every_agent() -> None:
    state = table(make_allocation("x", *parts(PartState.ADMITTED, PartState.PENDING)))
    revision = apply(
        state, lifecycle.progress(state, state.allocations["x"], 1, PartState.ADMITTED)
    )
    assert state.allocations["x"].state is ACTIVE
    assert {p.revision for p in state.allocations["x"].parts} == {revision}


def test_an_adopted_allocation_that_lacks_a_part_does_not_become_active() -> None:
    spec = make_spec(cpu=1, count=2)
    state = table(make_allocation("x", *parts(PartState.PENDING), spec=spec, adopted=True))
    apply(state, lifecycle.progress(state, state.allocations["x"], 0, PartState.ADMITTED))
    assert state.allocations["x"].state is RESERVED


@pytest.mark.parametrize(
    ("now", "reached"),
    [
        (PartState.ADMITTED, PartState.ADMITTED),
        (PartState.STARTED, PartState.ADMITTED),
        (PartState.RELEASING, PartState.STARTED),
        (PartState.GONE, PartState.ADMITTED),
    ],
)
def test_a_part_never_goes_back(now: PartState, reached: PartState) -> None:
    state = table(make_allocation("x", *parts(now), state=ACTIVE))
    assert lifecycle.progress(state, state.allocations["x"], 0, reached) is None


@pytest.mark.parametrize("before", [PartState.PENDING, PartState.ADMITTED, PartState.STARTED])
def test_an_end_releases_every_part_and_gives_nothing_back_yet(before: PartState) -> None:
    state = table(make_allocation("x", *parts(before)))
    apply(state, lifecycle.end(state, state.allocations["x"], EndReason.EXPIRED, "why"))
    a = state.allocations["x"]
    assert (a.state, a.end_reason, a.end_message) == (RELEASING, EndReason.EXPIRED, "why")
    assert states(a) == [PartState.RELEASING]
    assert state.nodes["n1"].used == dict(CORE)


@pytest.mark.parametrize("state_now", [RELEASING, ENDED])
def test_what_has_ended_does_not_end_again(state_now: AllocationState) -> None:
    part = PartState.RELEASING if state_now is RELEASING else PartState.GONE
    state = table(make_allocation("x", *parts(part), state=state_now))
    assert lifecycle.end(state, state.allocations["x"], EndReason.EXPIRED) is None


def test_it_has_ended_when_the_last_part_is_gone_and_each_amount_came_back_once() -> None:
    both = parts(PartState.RELEASING, PartState.RELEASING)
    state = table(make_allocation("x", *both, state=RELEASING, end_reason=EndReason.RELEASED))
    apply(state, lifecycle.gone(state, state.allocations["x"], [0]))
    assert state.allocations["x"].state is RELEASING
    assert state.nodes["n1"].used == dict(CORE)
    apply(state, lifecycle.gone(state, state.allocations["x"], [0, 1]))
    assert state.allocations["x"].state is ENDED
    assert state.nodes["n1"].used == {}
    assert check_invariants(state) == []


def test_a_refused_part_moves_to_its_new_place_in_one_step() -> None:
    state = table(make_allocation("x", *parts(PartState.PENDING, PartState.ADMITTED)))
    apply(state, lifecycle.place_anew(state, state.allocations["x"], 0, Place("n2", "", CORE)))
    a = state.allocations["x"]
    assert (a.parts[0].node, a.parts[0].place_revision, a.refusals) == ("n2", 1, 1)
    assert state.nodes["n1"].used == dict(CORE)
    assert state.nodes["n2"].used == dict(CORE)
    assert "x.0.1" in state.moving
    assert "x.0.0" not in state.moving


def test_a_refused_part_with_no_place_left_ends_all_and_gives_only_its_own_back() -> None:
    state = table(make_allocation("x", *parts(PartState.PENDING, PartState.ADMITTED)))
    a = state.allocations["x"]
    apply(state, lifecycle.end_and_gone(state, a, [0], EndReason.FAILED, "no place"))
    assert states(state.allocations["x"]) == [PartState.GONE, PartState.RELEASING]
    assert state.nodes["n1"].used == dict(CORE)


def test_an_allocation_changed_meanwhile_rejects_the_step_planned_on_the_old_one() -> None:
    state = table(make_allocation("x", *parts(PartState.PENDING)))
    step = lifecycle.end(state, state.allocations["x"], EndReason.EXPIRED)
    assert step is not None
    apply(state, lifecycle.progress(state, state.allocations["x"], 0, PartState.ADMITTED))
    outcome = Ledger(state).apply(step)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is RejectReason.RECORD_CHANGED


def test_a_renewal_with_the_same_length_is_no_commit() -> None:
    state = table(make_allocation("x"))
    a = state.allocations["x"]
    assert lifecycle.change_spec_ttl(state, a, a.spec.ttl_s) is None
    apply(state, lifecycle.change_spec_ttl(state, a, 99))
    assert state.allocations["x"].spec.ttl_s == 99


def test_only_an_ended_allocation_is_forgotten_and_frees_its_request_id() -> None:
    live = table(make_allocation("x", request_id="r"))
    with pytest.raises(AssertionError):
        lifecycle.forget_ended(live, live.allocations["x"])
    ended = make_allocation("x", *parts(PartState.GONE), state=ENDED, request_id="r")
    state = table(ended)
    apply(state, lifecycle.forget_ended(state, state.allocations["x"]))
    assert (state.allocations, state.request_ids) == ({}, {})
