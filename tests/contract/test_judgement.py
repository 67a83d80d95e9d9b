"""What every store accepts and rejects, alone and inside a batch; a rejection changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import (
    NodeAmounts,
    PutAllocation,
    PutNode,
    Rejected,
    RejectReason,
    Transaction,
)
from computepool_broker.model.amounts import MAX_AMOUNT, MAX_HELD
from computepool_broker.model.records import PartState
from computepool_broker.placement.places import Place
from support.builders import (
    make_allocation,
    make_node,
    make_part,
    whole,
)
from support.ledger_scene import (
    ONE_CORE,
    accept,
    cordon,
    end,
    grant,
    join,
)
from support.state_text import everything, lasting
from support.store_places import kept, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.state import LedgerState
    from support.store_places import StorePlace


REJECTED: dict[str, tuple[Callable[[LedgerState], Transaction], Rejected]] = {
    "another epoch": (
        lambda s: grant(s, "x")._replace(epoch=2),
        Rejected(RejectReason.EPOCH, "1"),
    ),
    "the record is there already": (
        lambda s: grant(s, "old"),
        Rejected(RejectReason.RECORD_CHANGED, "old"),
    ),
    "the record has changed": (
        lambda _: Transaction(1, puts=(PutAllocation("old", make_allocation("old"), 1),)),
        Rejected(RejectReason.RECORD_CHANGED, "old"),
    ),
    "there is no record": (
        lambda _: Transaction(1, puts=(PutAllocation("x", make_allocation("x"), 3),)),
        Rejected(RejectReason.RECORD_CHANGED, "x"),
    ),
    "the request_id is taken": (
        lambda s: grant(s, "x", request_id="taken"),
        Rejected(RejectReason.REQUEST_ID_TAKEN, "old"),
    ),
    "no such node": (
        lambda s: grant(s, "x", ("n1", ONE_CORE), ("n9", ONE_CORE)),
        Rejected(RejectReason.NODE_UNKNOWN, "n9"),
    ),
    "the node is cordoned": (
        lambda s: grant(s, "x", ("n1", ONE_CORE), ("n2", ONE_CORE)),
        Rejected(RejectReason.NOT_SCHEDULABLE, "n2"),
    ),
    "the device is granted": (
        lambda s: grant(s, "x", ("n1", whole("n1", 0))),
        Rejected(RejectReason.NO_FIT, "n1", "d/n1-d0", 1000),
    ),
    "no such device": (
        lambda s: grant(s, "x", ("n1", whole("n1", 8))),
        Rejected(RejectReason.NO_FIT, "n1", "d/n1-d8", 1000),
    ),
    "each fits and both do not": (
        lambda s: grant(s, "x", ("n1", (("x/l", 2),)), ("n1", (("x/l", 2),))),
        Rejected(RejectReason.NO_FIT, "n1", "x/l", 1),
    ),
    "the largest amount does not fit": (
        lambda s: grant(s, "x", ("n1", (("memory_mib", MAX_AMOUNT),))),
        Rejected(RejectReason.NO_FIT, "n1", "memory_mib", MAX_AMOUNT - 512 * 1024),
    ),
}


@pytest.mark.parametrize("case", REJECTED)
async def test_a_rejected_transaction_changes_nothing(place: StorePlace, case: str) -> None:
    build, want = REJECTED[case]
    async with opened(place) as store:
        join(store, "a1", "n1", "n2")
        extras = make_node(extras={"l": 3})
        accept(
            store, Transaction(1, nodes=(PutNode("n1", extras),), blockers=cordon("n2").blockers)
        )
        accept(store, grant(store.state, "old", ("n1", whole("n1", 0)), request_id="taken"))
        await store.commit()
        before = everything(store.state)
        outcome = store.stage(build(store.state))
        assert outcome == want
        assert everything(store.state) == before
        await store.commit()
        lasts = lasting(store.state)
    assert await kept(place) == lasts


async def test_a_batch_with_a_rejected_transaction_keeps_the_others(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        accept(store, grant(store.state, "first", ("n1", whole("n1", 0))))
        assert isinstance(store.stage(grant(store.state, "x", ("n1", whole("n1", 0)))), Rejected)
        accept(store, grant(store.state, "second", ("n1", whole("n1", 1))))
        await store.commit()
    allocations = (await kept(place))["allocations"]
    assert isinstance(allocations, dict)
    assert sorted(allocations) == ["first", "second"]


async def test_a_later_transaction_of_a_batch_is_judged_by_what_the_earlier_ones_left(
    place: StorePlace,
) -> None:
    async with opened(place) as store:
        join(store, "a1", "n1", "n2")
        state = store.state
        all_of_n1 = whole("n1", *range(8))
        accept(store, grant(state, "a", ("n1", all_of_n1), request_id="r"))
        accept(store, end(state, "a"))
        accept(store, lifecycle.gone(state, state.allocations["a"], (0,)))
        accept(store, lifecycle.forget_ended(state, state.allocations["a"]))
        accept(store, grant(state, "b", ("n1", all_of_n1), request_id="r"))
        there = Place("n2", "H800", whole("n2", 0))
        accept(store, lifecycle.place_anew(state, state.allocations["b"], 0, there))
        accept(store, Transaction(1, nodes=(PutNode("n1", None),)))
        accept(store, Transaction(1, nodes=(PutNode("n1", make_node(gpus=1)),)))
        assert isinstance(store.stage(grant(state, "c", ("n1", whole("n1", 1)))), Rejected)
        accept(store, grant(state, "c", ("n1", whole("n1", 0))))
        await store.commit()
        want = lasting(state)
    assert await kept(place) == want


async def test_amounts_that_move_away_make_room_for_those_that_come(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        state = store.state
        accept(store, grant(state, "x", ("n1", (("cpu_milli", 60_000),))))
        await store.commit()
        bigger = Place("n1", "", (("cpu_milli", 64_000),))
        accept(store, lifecycle.place_anew(state, state.allocations["x"], 0, bigger))
        await store.commit()
        assert state.nodes["n1"].used == {"cpu_milli": 64_000}


async def test_adoption_takes_more_than_there_is_but_no_more_than_can_be_counted(
    place: StorePlace,
) -> None:
    def adopted(key: str, amount: int) -> Transaction:
        amounts = (("cpu_milli", amount),)
        part = make_part(state=PartState.STARTED, amounts=amounts)
        return Transaction(
            1,
            puts=(PutAllocation(key, make_allocation(key, part, adopted=True)),),
            reserve=(NodeAmounts("n1", amounts, forced=True),),
        )

    async with opened(place) as store:
        join(store)
        accept(store, cordon("n1"))
        for at in range(MAX_HELD // MAX_AMOUNT):
            accept(store, adopted(f"x{at}", MAX_AMOUNT))
            await store.commit()
        want = Rejected(RejectReason.NO_FIT, "n1", "cpu_milli", 1)
        assert store.stage(adopted("y", 1)) == want
        accept(store, end(store.state, "x0"))
        accept(store, lifecycle.gone(store.state, store.state.allocations["x0"], (0,)))
        accept(store, adopted("y", MAX_AMOUNT - 1))
        await store.commit()
        used = dict(store.state.nodes["n1"].used)
        assert used == {"cpu_milli": MAX_HELD - 1}
    async with opened(place) as store:
        assert store.state.nodes["n1"].used == used
