"""What every commit checks (ledger.check), and what capacity is."""

from __future__ import annotations

import pytest

from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.transaction import (
    Blocker,
    NodeAmounts,
    PutAllocation,
    Rejected,
    RejectReason,
    SetBlockers,
    Transaction,
)
from computepool_broker.model.amounts import MAX_AMOUNT, Resources, Shortfall, shortfall
from computepool_broker.model.book import capacity_of
from computepool_broker.model.records import Device
from support.builders import (
    commit,
    make_allocation,
    make_node,
    make_resources,
    make_state,
    whole,
)


def test_capacity_is_what_neither_the_system_nor_others_have() -> None:
    node = make_node(
        gpus=0,
        cpu=8,
        memory=4,
        disk=2,
        extras={"slot": 3},
        reserved=make_resources(1, 1),
        foreign=make_resources(2, slot=1),
    )
    want = {"cpu_milli": 5000, "memory_mib": 3072, "disk_mib": 2048, "x/slot": 2}
    assert capacity_of(node) == want


def test_more_foreign_than_there_is_makes_capacity_negative() -> None:
    assert capacity_of(make_node(cpu=1, foreign=make_resources(3)))["cpu_milli"] == -2000


def test_a_sick_device_has_none_and_a_used_one_its_rest() -> None:
    devices = (Device("a", "m", 1, healthy=False), Device("b", "m", 1, foreign_milli=300))
    capacity = capacity_of(make_node(devices=devices))
    assert (capacity["d/a"], capacity["d/b"]) == (0, 700)


def test_a_gone_node_has_nothing() -> None:
    assert capacity_of(make_node(gone=True)) == {}


def test_the_first_key_that_does_not_fit_is_named_with_what_is_missing() -> None:
    lack = shortfall((("a", 1), ("b", 5)), {"a": 1, "b": 7}, {"b": 4})
    assert lack == Shortfall("b", 2)
    assert shortfall((("gone", 1),), {}, {}) == Shortfall("gone", 1)


def rejected(*reserve: NodeAmounts, **others: object) -> Rejected:
    state = make_state(make_node("n1", gpus=2, cpu=2), allocations=[make_allocation("x")])
    tx = Transaction(1, reserve=reserve)._replace(**others)  # type: ignore[arg-type]
    before = (state.revision, dict(state.nodes["n1"].used))
    outcome = Ledger(state).apply(tx)
    assert isinstance(outcome, Rejected)
    assert (state.revision, state.nodes["n1"].used) == before
    return outcome


def test_another_epoch_is_rejected() -> None:
    assert rejected(epoch=2).reason is RejectReason.EPOCH


def test_an_unknown_node_is_rejected() -> None:
    assert rejected(NodeAmounts("n9", whole("n9", 0))).reason is RejectReason.NODE_UNKNOWN


def test_what_does_not_fit_any_more_is_rejected_with_the_key() -> None:
    outcome = rejected(NodeAmounts("n1", (("cpu_milli", 1500),)))
    assert outcome[:4] == (RejectReason.NO_FIT, "n1", "cpu_milli", 500)


def test_amounts_on_one_node_count_together() -> None:
    half = NodeAmounts("n1", (("cpu_milli", 600),))
    assert rejected(half, half).reason is RejectReason.NO_FIT


def test_a_sum_of_the_largest_amounts_does_not_wrap() -> None:
    big = NodeAmounts("n1", (("cpu_milli", MAX_AMOUNT),))
    assert rejected(big, big).missing > MAX_AMOUNT // 2


def test_a_record_that_is_there_already_is_rejected() -> None:
    put = PutAllocation("x", make_allocation("x"))
    assert rejected(puts=(put,)).reason is RejectReason.RECORD_CHANGED


@pytest.mark.parametrize(
    "bit", [Blocker.CORDONED, Blocker.SUSPECT, Blocker.UNSCHEDULABLE, Blocker.CONFLICT]
)
def test_a_blocked_node_takes_nothing_new_and_always_gives_back(bit: int) -> None:
    state = make_state(make_node("n1"), allocations=[make_allocation("x")])
    commit(state, blockers=(SetBlockers("n1", bit),))
    grant = Transaction(1, reserve=(NodeAmounts("n1", (("cpu_milli", 1),)),))
    outcome = Ledger(state).apply(grant)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is RejectReason.NOT_SCHEDULABLE
    commit(state, release=(NodeAmounts("n1", (("cpu_milli", 1000),)),))
    assert state.nodes["n1"].used == {}


def test_an_overfull_node_still_gives_back() -> None:
    node = make_node("n1", cpu=2)
    state = make_state(node, allocations=[make_allocation("x")])
    state.nodes["n1"].capacity = {}
    commit(state, release=(NodeAmounts("n1", (("cpu_milli", 1000),)),))
    assert state.nodes["n1"].used == {}


def test_a_bound_request_id_is_taken_and_names_its_holder() -> None:
    state = make_state(make_node(), allocations=[make_allocation("x", request_id="r")])
    second = make_allocation("y", request_id="r")
    tx = Transaction(1, puts=(PutAllocation("y", second),), bind=("y",))
    outcome = Ledger(state).apply(tx)
    assert outcome == Rejected(RejectReason.REQUEST_ID_TAKEN, "x")


def test_resources_and_amounts_are_the_same_thing_twice() -> None:
    want = Resources(1, 2, 0, (("a", 3),))
    assert Resources.of(dict(want.amounts())) == want


def test_blockers_have_names() -> None:
    assert Blocker.names(Blocker.CORDONED | Blocker.GONE) == ["CORDONED", "GONE"]
