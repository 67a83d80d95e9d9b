"""The index under many changes at once, and what "fits" means, told once more in plain words.

Few rows are held here, so that the floor is raised, rows fall below it, and the index starts
over: what a pool of thousands of nodes sees, with two dozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool_broker.model.amounts import CPU
from computepool_broker.model.records import Device
from computepool_broker.placement import change_log, score, shape_index
from computepool_broker.placement.columns import Columns
from computepool_broker.placement.filters import compile_shape
from computepool_broker.placement.places import place_on
from computepool_broker.placement.shape_index import ShapeIndex
from support.builders import GIB, make_columns, make_node, make_resources, make_spec, make_state

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.request import Spec

NODES = 24
CORES = 4
SHAPE = make_spec(cpu=1).shape
WAVES = st.lists(
    st.tuples(
        st.sets(st.integers(0, NODES - 1), max_size=NODES),  # who changes
        st.integers(0, CORES + 1),  # cores in use there afterwards, and one more at each next
        st.booleans(),  # whether somebody asks now
    ),
    min_size=1,
    max_size=12,
)


def best_row(columns: Columns) -> int:
    """The answer by looking at every row."""
    columns.rank  # noqa: B018 - settles the layout
    keys = score.keys(columns, compile_shape(columns, SHAPE), slice(0, columns.size))
    return int(np.argmax(keys)) if keys.any() else -1


def change(state: LedgerState, who: set[int], cores: int) -> None:
    for number in sorted(who):
        book = state.nodes[f"n{number}"]
        book.used[CPU] = (cores + number) % (CORES + 2) * 1000
        state.on_node(book)


@pytest.mark.parametrize(
    ("least", "most", "scalar_rows", "log_rows"),
    [(3, 8, 0, 1 << 16), (1, 2, 3, 1 << 16), (4, 4, 24, 5), (64, 1024, 0, 64)],
    ids=["many at once", "hardly any held", "log overflows", "all held"],
)
@settings(max_examples=120, deadline=None)
@given(waves=WAVES)
def test_the_index_names_the_best_row_after_waves_of_changes(
    least: int,
    most: int,
    scalar_rows: int,
    log_rows: int,
    waves: list[tuple[set[int], int, bool]],
) -> None:
    with (
        mock.patch.object(shape_index, "LEAST_HELD", least),
        mock.patch.object(shape_index, "MOST_HELD", most),
        mock.patch.object(shape_index, "SCALAR_ROWS", scalar_rows),
        mock.patch.object(change_log, "LOG_ROWS", log_rows),
    ):
        columns, state = make_columns(
            *(make_node(f"n{number}", gpus=0, cpu=CORES) for number in range(NODES))
        )
        index = ShapeIndex(columns, SHAPE)
        for who, cores, asked in waves:
            change(state, who, cores)
            if asked:
                assert index.top() == best_row(columns)
        assert index.top() == best_row(columns)


@settings(max_examples=120, deadline=None)
@given(waves=WAVES)
def test_what_the_index_does_not_hold_is_never_above_its_floor(
    waves: list[tuple[set[int], int, bool]],
) -> None:
    with (
        mock.patch.object(shape_index, "LEAST_HELD", 3),
        mock.patch.object(shape_index, "SCALAR_ROWS", 0),
    ):
        columns, state = make_columns(
            *(make_node(f"n{number}", gpus=0, cpu=CORES) for number in range(NODES))
        )
        index = ShapeIndex(columns, SHAPE)
        for who, cores, _ in waves:
            change(state, who, cores)
            index.top()
            keys = score.keys(columns, index.compiled, slice(0, columns.size)).tolist()
            for row, key in enumerate(keys):
                assert index._best.get(row, key) == key
                assert row in index._best or key <= index._floor


MODELS = ["Zeta", "Zeta-XL", "Eta"]  # none that the catalogue knows by other names
DEVICES = st.lists(
    st.tuples(st.sampled_from(MODELS), st.sampled_from([40, 80]), st.booleans(), st.integers(0, 3)),
    max_size=4,
)
NAMES = st.sampled_from([[], ["Zeta"], ["zeta-xl"], ["Eta", "Zeta"]])
LEAST_MEMORY = st.sampled_from([0, 60])
SPECS = st.one_of(
    st.builds(make_spec, gpus=st.integers(1, 3), models=NAMES, device_memory=LEAST_MEMORY),
    st.builds(make_spec, milli=st.sampled_from([100, 400, 700]), models=NAMES),
    st.builds(
        make_spec,
        cpu=st.integers(0, 3),
        memory=st.integers(0, 3),
        extras=st.sampled_from([None, {"slot": 1}, {"slot": 2}]),
        regions=st.sampled_from([[], ["r1"], ["r1", "r2"], ["r3"]]),
        labels=st.sampled_from([None, {"disk": "fast"}]),
    ),
)


def wants(spec: Spec, device: Device) -> bool:
    """Whether the request takes this device, by name and memory."""
    part = spec.shape.part
    names = [name.lower() for name in part.models]
    model = device.model.lower()
    named = not names or any(model == name or model.startswith(f"{name}-") for name in names)
    return named and device.memory_mib >= part.min_device_memory_mib


def fits(spec: Spec, book: NodeBook) -> bool:
    """Whether a node takes a part: slowly, from the report and from what is granted."""
    shape, part, record = spec.shape, spec.shape.part, book.record
    if (
        record.gone
        or record.unschedulable
        or (shape.regions and record.region not in shape.regions)
    ):
        return False
    if not set(shape.node_labels) <= set(record.labels):
        return False
    for key, need in (("cpu_milli", part.cpu_milli), ("memory_mib", part.memory_mib)):
        there = getattr(record.total, key) - getattr(record.foreign, key) - book.used.get(key, 0)
        if there < need:
            return False
    slots = dict(record.total.extras)
    if any(slots.get(name, 0) < need for name, need in part.extras):
        return False
    left = {
        device: 1000 - device.foreign_milli - book.used.get(f"d/{device.id}", 0)
        for device in record.devices
        if device.healthy and wants(spec, device)
    }
    if part.device_milli:
        return any(milli >= part.device_milli for milli in left.values())
    alike: dict[tuple[str, int], int] = {}
    for device, milli in left.items():
        if milli == 1000:
            kind = (device.model, device.memory_mib)
            alike[kind] = alike.get(kind, 0) + 1
    return max(alike.values(), default=0) >= part.devices


@settings(max_examples=400, deadline=None)
@given(data=st.data(), spec=SPECS, devices=DEVICES)
def test_a_node_has_a_key_and_a_place_exactly_when_it_fits_in_plain_words(
    data: st.DataObject, spec: Spec, devices: list[tuple[str, int, bool, int]]
) -> None:
    node = make_node(
        "n1",
        cpu=3,
        memory=3,
        devices=tuple(
            Device(f"n1-d{at}", model, size * GIB, healthy, foreign * 250)
            for at, (model, size, healthy, foreign) in enumerate(devices)
        ),
        extras={"slot": 1} if data.draw(st.booleans()) else None,
        foreign=make_resources(cpu=data.draw(st.integers(0, 1))),
        region=data.draw(st.sampled_from(["r1", "r2"])),
        labels=data.draw(st.sampled_from([None, {"disk": "fast", "rack": "7"}])),
        unschedulable=data.draw(st.integers(0, 9)) == 7,
        gone=data.draw(st.integers(0, 9)) == 7,
    )
    columns = Columns()
    book = make_state(node, columns=columns).nodes["n1"]
    if data.draw(st.booleans()):
        book.used["memory_mib"] = 2 * GIB
        for at in range(0, len(devices), 2):
            book.used[f"d/n1-d{at}"] = data.draw(st.sampled_from([300, 600, 1000]))
        columns.update(book)
    columns.rank  # noqa: B018 - settles the layout
    compiled = compile_shape(columns, spec.shape)
    want = fits(spec, book)
    assert bool(score.key_of_row(columns, compiled, book.row)) == want
    assert bool(score.keys(columns, compiled, slice(0, columns.size))[book.row]) == want
    if want:
        assert place_on(columns, compiled, book, book.used) is not None
