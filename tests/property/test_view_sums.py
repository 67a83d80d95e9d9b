"""The sums that people see, against adding up node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from computepool_broker.ledger.transaction import Blocker, PutNode, SetBlockers
from computepool_broker.model.records import AllocationState, Device, PartState
from computepool_broker.placement.columns import Columns
from computepool_broker.services.view import Sums, sums_by_center
from support.builders import (
    GIB,
    commit,
    make_allocation,
    make_node,
    make_part,
    make_resources,
    make_state,
)

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import Allocation, NodeRecord

NAMES = ("n0", "n1", "n2", "n3", "n4")
PARTS = {
    PartState.PENDING: AllocationState.RESERVED,
    PartState.STARTED: AllocationState.ACTIVE,
    PartState.RELEASING: AllocationState.RELEASING,
}


@st.composite
def nodes(draw: st.DrawFn, name: str) -> NodeRecord:
    kinds = st.tuples(st.sampled_from(["H800", "A100"]), st.booleans(), st.sampled_from([0, 400]))
    return make_node(
        name,
        devices=tuple(
            Device(f"{name}-d{at}", model, (40 if model == "A100" else 80) * GIB, healthy, foreign)
            for at, (model, healthy, foreign) in enumerate(draw(st.lists(kinds, max_size=3)))
        ),
        cpu=draw(st.integers(0, 4)),
        memory=draw(st.integers(0, 4)),
        reserved=make_resources(cpu=draw(st.integers(0, 1))),
        foreign=make_resources(cpu=draw(st.integers(0, 2)), memory=draw(st.integers(0, 2))),
        center=draw(st.sampled_from(["c1", "c2"])),
        unschedulable=draw(st.booleans()),
        gone=draw(st.integers(0, 5)) == 5,
    )


@st.composite
def allocations(draw: st.DrawFn, number: int) -> Allocation:
    state = draw(st.sampled_from(list(PARTS)))
    node = draw(st.sampled_from(NAMES))
    amounts = [("cpu_milli", draw(st.integers(1, 3)) * 1000)]
    if draw(st.booleans()):
        amounts.append((f"d/{node}-d0", draw(st.sampled_from([300, 1000]))))
    part = make_part(0, node, state, tuple(amounts))
    part.model = "H800"
    made = make_allocation(f"x{number}", part, state=PARTS[state])
    made.created_ms = draw(st.integers(1, 99))
    return made


def plain(state: LedgerState, center: str, key: str) -> Sums:
    """One fixed resource of a center, node by node."""
    out = dict.fromkeys(Sums._fields, 0)
    for book in state.nodes.values():
        if book.record.center != center:
            continue
        record, used = book.record, book.used.get(key, 0)
        total, reserved, foreign = (
            0 if record.gone else getattr(amounts, key)
            for amounts in (record.total, record.reserved, record.foreign)
        )
        free = total - reserved - foreign - used
        for name, value in (
            ("total", total),
            ("reserved", reserved),
            ("foreign", foreign),
            ("granted", used),
            ("free", max(0, free)),
            ("schedulable", max(0, free) if book.blockers == 0 else 0),
            ("overcommit", max(0, -free)),
        ):
            out[name] += value
    return Sums(**out)._replace(**moving(state, center, lambda k, _: k == key))


def plain_devices(state: LedgerState, center: str, model: str) -> Sums:
    """All devices of a model in a center, one by one."""
    out = dict.fromkeys(Sums._fields, 0)
    for book in state.nodes.values():
        if book.record.center != center:
            continue
        for device in book.record.devices:
            if device.model != model:
                continue
            gone = book.record.gone
            total = 1000 if device.healthy and not gone else 0
            foreign = 0 if gone else device.foreign_milli
            used = book.used.get(f"d/{device.id}", 0)
            free = total - foreign - used
            for name, value in (
                ("total", total),
                ("foreign", foreign),
                ("granted", used),
                ("free", max(0, free)),
                ("schedulable", max(0, free) if book.blockers == 0 else 0),
                ("overcommit", max(0, -free)),
            ):
                out[name] += value
    is_it = moving(state, center, lambda k, part_model: k.startswith("d/") and part_model == model)
    return Sums(**out)._replace(**is_it)


def moving(state: LedgerState, center: str, wanted: object) -> dict[str, int]:
    """What is granted and not yet shown, and what is being torn down."""
    assert callable(wanted)
    out = {"in_flight": 0, "releasing": 0}
    for allocation in state.allocations.values():
        for part in allocation.parts:
            if state.nodes[part.node].record.center != center:
                continue
            held = sum(amount for key, amount in part.amounts if wanted(key, part.model))
            if part.state is PartState.PENDING:
                out["in_flight"] += held
            elif part.state is PartState.RELEASING:
                out["releasing"] += held
    return out


def check(columns: Columns, state: LedgerState) -> None:
    got = sums_by_center(columns, state)
    assert set(got) == {book.record.center for book in state.nodes.values()}
    for center, sums in got.items():
        books = [b for b in state.nodes.values() if b.record.center == center]
        assert (sums.nodes, sums.schedulable) == (
            len(books),
            sum(b.blockers == 0 for b in books),
        )
        for key in ("cpu_milli", "memory_mib", "disk_mib"):
            assert sums.fixed[key] == plain(state, center, key), (center, key)
        models = {device.model for book in books for device in book.record.devices}
        assert set(sums.models) == models
        for model in models:
            assert sums.models[model] == plain_devices(state, center, model), (center, model)
        waiting = [
            a.created_ms
            for a in state.allocations.values()
            if a.parts[0].state is PartState.PENDING
            and state.nodes[a.parts[0].node].record.center == center
        ]
        assert sums.oldest_in_flight_ms == min(waiting, default=0)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_sums_are_those_of_the_nodes_also_after_changes(data: st.DataObject) -> None:
    columns = Columns(capacity=2)
    records = [data.draw(nodes(name)) for name in NAMES]
    made = [data.draw(allocations(number)) for number in range(data.draw(st.integers(0, 4)))]
    state = make_state(*records, allocations=made, columns=columns)
    check(columns, state)
    for name in data.draw(st.lists(st.sampled_from(NAMES), max_size=4)):
        book = state.nodes.get(name)
        if book is None or book.leases or data.draw(st.booleans()):
            commit(state, nodes=(PutNode(name, data.draw(nodes(name))),))
        elif data.draw(st.booleans()):
            commit(state, nodes=(PutNode(name, None),))
        else:
            commit(state, blockers=(SetBlockers(name, Blocker.CORDONED),))
        check(columns, state)


def test_an_empty_pool_has_no_sums() -> None:
    assert sums_by_center(Columns(), make_state()) == {}
