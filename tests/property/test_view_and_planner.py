"""The view, its caches and the planner agree with plain reckoning, whatever changes come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.transaction import (
    Blocker,
    NodeAmounts,
    PutNode,
    SetBlockers,
)
from computepool_broker.model.amounts import add, shortfall
from computepool_broker.model.records import Device
from computepool_broker.placement import change_log, score, shape_index
from computepool_broker.placement import columns as columns_module
from computepool_broker.placement.columns import Columns
from computepool_broker.placement.filters import compile_shape
from computepool_broker.placement.places import place_on
from computepool_broker.placement.planner import Planner
from computepool_broker.placement.shape_index import ShapeIndex
from support.builders import commit, make_node, make_resources, make_spec, make_state

if TYPE_CHECKING:
    from computepool_broker.model.records import NodeRecord
    from computepool_broker.model.request import Spec

NAMES = [f"n{number}" for number in range(8)]
DEVICES = st.lists(
    st.tuples(st.sampled_from(["H800", "A100"]), st.sampled_from([0, 300, 1000]), st.booleans()),
    max_size=4,
)


@st.composite
def nodes(draw: st.DrawFn, name: str) -> NodeRecord:
    devices = tuple(
        Device(f"{name}-d{at}", model, 80 * 1024, healthy, foreign)
        for at, (model, foreign, healthy) in enumerate(draw(DEVICES))
    )
    return make_node(
        name,
        devices=devices,
        cpu=draw(st.integers(0, 4)),
        memory=draw(st.integers(0, 4)),
        foreign=make_resources(draw(st.integers(0, 3))),
        extras={"slot": draw(st.integers(0, 2))} if draw(st.booleans()) else None,
        center=draw(st.sampled_from(["c1", "c2"])),
        labels={"kind": draw(st.sampled_from(["x", "y"]))},
        unschedulable=draw(st.integers(0, 5)) == 0,
        gone=draw(st.integers(0, 7)) == 0,
    )


SPECS = st.one_of(
    st.builds(make_spec, gpus=st.integers(1, 3), cpu=st.integers(0, 2)),
    st.builds(make_spec, milli=st.sampled_from([100, 400, 700]), cpu=st.integers(0, 1)),
    st.builds(make_spec, cpu=st.integers(1, 3), memory=st.integers(0, 2)),
    st.builds(make_spec, gpus=st.just(1), models=st.just(["A100"]), centers=st.just(["c2"])),
    st.just(make_spec(cpu=1, labels={"kind": "x"})),
    st.just(make_spec(cpu=1, extras={"slot": 1})),
    st.just(make_spec(cpu=1, extras={"unheard-of": 1})),
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["put", "drop", "use", "cordon", "ask"])),
    max_size=40,
)


class Follower:
    """Tables with a view, and the changes that the ledger can make to them."""

    def __init__(self) -> None:
        self.columns = Columns(capacity=2)
        self.state = make_state(make_node("n0"), columns=self.columns)

    def change(self, name: str, what: str, data: st.DataObject) -> None:
        book = self.state.nodes.get(name)
        if what == "put":
            record = data.draw(nodes(name))
            commit(self.state, nodes=(PutNode(name, record),))
        elif what == "drop" and book is not None and not book.used:
            commit(self.state, nodes=(PutNode(name, None),))
        elif what == "use" and book is not None:
            keys = sorted(book.capacity)
            if keys:
                amounts = ((data.draw(st.sampled_from(keys)), data.draw(st.integers(1, 900))),)
                commit(self.state, reserve=(NodeAmounts(name, amounts, forced=True),))
        elif what == "cordon" and book is not None:
            on = book.blockers & Blocker.CORDONED
            bits = (0, Blocker.CORDONED) if on else (Blocker.CORDONED, 0)
            commit(self.state, blockers=(SetBlockers(name, *bits),))


def best_row(columns: Columns, index: ShapeIndex) -> int:
    """What `top` must be, by looking at every row."""
    columns.rank  # noqa: B018 - settles the layout
    keys = score.keys(columns, compile_shape(columns, index.shape), slice(0, columns.size))
    return int(np.argmax(keys)) if keys.any() else -1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), changes=CHANGES, spec=SPECS)
def test_the_key_of_a_row_is_the_same_one_by_one_and_all_at_once(
    data: st.DataObject,
    changes: list[tuple[str, str]],
    spec: Spec,
) -> None:
    follower = Follower()
    for change in changes:
        follower.change(*change, data)
    columns = follower.columns
    columns.rank  # noqa: B018 - settles the layout
    compiled = compile_shape(columns, spec.shape)
    want = score.keys(columns, compiled, slice(0, columns.size)).tolist()
    assert [score.key_of_row(columns, compiled, row) for row in range(columns.size)] == want
    # Used amounts come without allocations here: only the view's own rows are looked at.
    wrong = check_invariants(follower.state, columns)
    assert [text for text in wrong if "view" in text] == []


@pytest.mark.parametrize(
    ("held", "log_rows", "scalar_rows"), [(64, 1 << 16, 12), (2, 1 << 16, 0), (1, 4, 12)]
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), changes=CHANGES, spec=SPECS)
def test_the_index_names_the_best_of_all_rows_after_any_changes(
    monkeypatch: pytest.MonkeyPatch,
    held: int,
    log_rows: int,
    scalar_rows: int,
    data: st.DataObject,
    changes: list[tuple[str, str]],
    spec: Spec,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shape_index, "LEAST_HELD", held)
        patch.setattr(shape_index, "SCALAR_ROWS", scalar_rows)
        patch.setattr(change_log, "LOG_ROWS", log_rows)
        patch.setattr(columns_module, "FREE_ROWS", held)
        follower = Follower()
        index = ShapeIndex(follower.columns, spec.shape)
        for change in changes:
            follower.change(*change, data)
            if change[1] == "ask":
                assert index.top() == best_row(follower.columns, index)
        assert index.top() == best_row(follower.columns, index)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), changes=CHANGES, spec=SPECS, count=st.integers(2, 12))
def test_a_gang_lands_where_its_parts_would_one_after_the_other(
    data: st.DataObject,
    changes: list[tuple[str, str]],
    spec: Spec,
    count: int,
) -> None:
    follower = Follower()
    for change in changes:
        follower.change(*change, data)
    gang, placeable = Planner(follower.columns).plan(spec._replace(parts=count))
    one_by_one = []
    planner = Planner(follower.columns)
    for _ in range(count):
        places, _ = planner.plan(spec)
        if not places:
            break
        one_by_one += places
        commit(follower.state, reserve=(NodeAmounts(places[0].node, places[0].amounts),))
    assert placeable == len(one_by_one)
    if placeable == count:
        assert gang == one_by_one
    else:
        assert gang == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), changes=CHANGES, spec=SPECS)
def test_a_place_always_fits_and_no_place_means_no_node_takes_it(
    data: st.DataObject,
    changes: list[tuple[str, str]],
    spec: Spec,
) -> None:
    follower = Follower()
    for change in changes:
        follower.change(*change, data)
    columns = follower.columns
    places, _ = Planner(columns).plan(spec)
    if places:
        book = follower.state.nodes[places[0].node]
        assert book.blockers == 0
        assert shortfall(places[0].amounts, book.capacity, book.used) is None
        used = dict(book.used)
        add(used, places[0].amounts)
        assert all(used[key] <= book.capacity[key] for key, _ in places[0].amounts)
    else:
        compiled = compile_shape(columns, spec.shape)
        for row, other in enumerate(columns.books):
            if other is not None and score.key_of_row(columns, compiled, row):
                assert place_on(columns, compiled, other, other.used) is None
