"""Spread: as many parts as any way of lying evenly allows, never less evenly than asked."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import Blocker, NodeAmounts, SetBlockers
from computepool_broker.model.amounts import add
from computepool_broker.model.request import Spread, SpreadOver
from computepool_broker.placement import room, spread
from computepool_broker.placement.places import place_on
from computepool_broker.placement.planner import Planner
from support.builders import apply, commit, make_allocation, make_columns, make_node, make_spec

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import NodeRecord
    from computepool_broker.model.request import Spec

CENTERS = {"c1": "r1", "c2": "r1", "c3": "r2"}
SPREADS = st.builds(Spread, st.sampled_from(list(SpreadOver)), st.integers(1, 3))


@st.composite
def pools(draw: st.DrawFn) -> list[NodeRecord]:
    nodes = []
    for at in range(draw(st.integers(1, 5))):
        center = draw(st.sampled_from(sorted(CENTERS)))
        nodes.append(
            make_node(
                f"n{at}",
                cpu=draw(st.integers(0, 3)),
                gpus=draw(st.integers(0, 2)),
                center=center,
                region=CENTERS[center],
                agent=f"a-{center}",
                labels={"kind": draw(st.sampled_from(["x", "x", "y"]))},
                unschedulable=draw(st.integers(0, 5)) == 0,
                gone=draw(st.integers(0, 7)) == 0,
            )
        )
    return nodes


SPECS = st.one_of(
    st.builds(make_spec, cpu=st.just(1), spread=SPREADS, count=st.integers(2, 6)),
    st.builds(make_spec, gpus=st.just(1), spread=SPREADS, count=st.integers(2, 6)),
    st.builds(
        make_spec,
        cpu=st.just(1),
        spread=SPREADS,
        count=st.integers(2, 6),
        labels=st.just({"kind": "x"}),
    ),
    st.builds(
        make_spec,
        cpu=st.just(1),
        spread=SPREADS,
        count=st.integers(2, 6),
        regions=st.just(["r1"]),
    ),
)


def domain(record: NodeRecord, over: SpreadOver) -> str:
    return (record.name, record.center, record.region)[over - 1]


def allowed(state: LedgerState, spec: Spec) -> list[NodeRecord]:
    """Nodes that the request allows, room or not."""
    shape = spec.shape
    return [
        book.record
        for book in state.nodes.values()
        if not book.record.gone
        and (not shape.regions or book.record.region in shape.regions)
        and set(shape.node_labels) <= set(book.record.labels)
        and (not shape.part.devices or book.record.devices)
    ]


def skew(state: LedgerState, spec: Spec, nodes: list[str]) -> int:
    assert spec.spread is not None
    over = spec.spread.over
    counts = Counter(dict.fromkeys((domain(r, over) for r in allowed(state, spec)), 0))
    counts.update(domain(state.nodes[name].record, over) for name in nodes)
    return max(counts.values()) - min(counts.values())


def room_of(planner: Planner, state: LedgerState, spec: Spec, name: str) -> int:
    """Parts that a node takes, one after the other."""
    compiled, packed = planner.judged(spec.shape)
    book = state.nodes[name]
    used, parts = dict(book.used), 0
    while packed[book.row]:
        place = place_on(planner.columns, compiled, book, used)
        if place is None:
            break
        add(used, place.amounts)
        parts += 1
    return parts


def most_by_trying(planner: Planner, state: LedgerState, spec: Spec) -> int:
    """The most parts, up to those asked for, of all ways to spread them."""
    assert spec.spread is not None
    names = [record.name for record in allowed(state, spec)]
    rooms = [range(min(room_of(planner, state, spec, n), spec.parts) + 1) for n in names]
    best = 0
    for counts in product(*rooms):
        nodes = [name for name, n in zip(names, counts, strict=True) for _ in range(n)]
        if best < len(nodes) <= spec.parts and skew(state, spec, nodes) <= spec.spread.max_skew:
            best = len(nodes)
    return best


@settings(max_examples=400, deadline=None)
@given(nodes=pools(), spec=SPECS)
def test_parts_lie_evenly_and_no_way_places_more(nodes: list[NodeRecord], spec: Spec) -> None:
    columns, state = make_columns(*nodes)
    planner = Planner(columns)
    places, placeable = planner.plan(spec)
    assert placeable == most_by_trying(planner, state, spec)
    assert len(places) == (spec.parts if placeable == spec.parts else 0)
    assert bool(planner.fits(spec)) == bool(places)
    if places:
        assert spec.spread is not None
        assert skew(state, spec, [p.node for p in places]) <= spec.spread.max_skew
        assert planner.fits(spec) == state.nodes[places[0].node].record.center
        assert places == planner.plan(spec)[0]
        commit(state, reserve=tuple(NodeAmounts(p.node, p.amounts) for p in places))


@settings(max_examples=400, deadline=None)
@given(nodes=pools(), spec=SPECS, data=st.data())
def test_a_part_that_moves_leaves_the_parts_as_even_as_asked(
    nodes: list[NodeRecord], spec: Spec, data: st.DataObject
) -> None:
    columns, state = make_columns(*nodes)
    planner = Planner(columns)
    places, _ = planner.plan(spec)
    if not places:
        return
    assert spec.spread is not None
    draft = make_allocation("x", spec=spec)
    apply(state, lifecycle.grant(state, draft, places))
    for _ in range(2):
        allocation = state.allocations["x"]
        position = data.draw(st.integers(0, spec.parts - 1))
        refused = allocation.parts[position].node
        commit(state, blockers=(SetBlockers(refused, Blocker.SUSPECT),))
        place = planner.place_again(allocation, position)
        others = [p.node for at, p in enumerate(allocation.parts) if at != position]
        could = [
            name
            for name in state.nodes
            if room_of(planner, state, spec, name)
            and skew(state, spec, [*others, name]) <= spec.spread.max_skew
        ]
        assert (place.node in could) if place is not None else not could
        if place is not None:
            apply(state, lifecycle.place_anew(state, allocation, position, place))


@settings(max_examples=300, deadline=None)
@given(
    nodes=pools(),
    spec=st.one_of(
        SPECS,
        st.builds(make_spec, milli=st.sampled_from([300, 400, 500]), cpu=st.integers(0, 1)),
        st.builds(make_spec, gpus=st.integers(1, 2), memory=st.integers(0, 3)),
    ),
    taken=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.sampled_from([200, 700]))),
)
def test_the_room_of_all_rows_is_what_placing_part_after_part_says(
    nodes: list[NodeRecord], spec: Spec, taken: list[tuple[int, int, int]]
) -> None:
    columns, state = make_columns(*nodes)
    for node, device, milli in taken:
        name, key = f"n{node}", f"d/n{node}-d{device}"
        book = state.nodes.get(name)
        if book is not None and book.capacity.get(key, 0) - book.used.get(key, 0) >= milli:
            commit(state, reserve=(NodeAmounts(name, ((key, milli),), forced=True),))
    planner = Planner(columns)
    compiled, _ = planner.judged(spec.shape)
    got = room.parts_by_row(columns, compiled)
    empty = room.parts_if_empty(columns, compiled)
    for name, book in state.nodes.items():
        assert got[book.row] == room_of(planner, state, spec, name)
        assert empty[book.row] >= got[book.row]


def test_domains_that_came_since_do_not_forbid_what_is_no_less_even() -> None:
    """Two centers with 2 parts each; a third has come since, and has no room: 2 above 0."""
    found = spread.Domains(np.arange(3), np.ones(3, dtype=np.bool_))
    wanted = Spread(SpreadOver.CENTERS, 1)
    # A part of the first moves: back to the first, or to the third; a third one on the second
    # would be worse than it was.
    assert spread.allowed_again(found, [0, 1, 1], 0, wanted).tolist() == [True, False, True]
