"""Where a request goes, sentence by sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest

from computepool_broker.ledger.transaction import Blocker, NodeAmounts, PutNode, SetBlockers
from computepool_broker.model.records import Device
from computepool_broker.placement import planner as planner_module
from computepool_broker.placement.filters import accepts
from computepool_broker.placement.planner import Place, Planner
from support.builders import GIB, commit, make_columns, make_devices, make_node, make_spec, whole

if TYPE_CHECKING:
    from computepool_broker.model.records import NodeRecord
    from computepool_broker.model.request import Spec


def places(spec: Spec, *nodes: NodeRecord) -> list[Place]:
    columns, _ = make_columns(*nodes)
    return Planner(columns).plan(spec.shape, spec.parts)[0]


def node_of(spec: Spec, *nodes: NodeRecord) -> str:
    """The node that takes the only part; empty when none does."""
    found = places(spec, *nodes)
    return found[0].node if found else ""


# -- filters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        make_spec(cpu=9),
        make_spec(memory=9),
        make_spec(disk=9),
        make_spec(gpus=3),
        make_spec(extras={"slot": 2}),
        make_spec(extras={"never-heard-of": 1}),
        make_spec(gpus=1, models=["A100"]),
        make_spec(gpus=1, device_memory=81),
        make_spec(milli=1, models=["A100"]),
        make_spec(cpu=1, labels={"disk": "slow"}),
        make_spec(cpu=1, labels={"disk": "fast", "rack": "2"}),
        make_spec(cpu=1, regions=["r2"]),
        make_spec(cpu=1, centers=["c2"]),
    ],
    ids=str,
)
def test_a_node_that_lacks_something_is_not_chosen(spec: Spec) -> None:
    node = make_node(
        gpus=2, cpu=8, memory=8, disk=8, extras={"slot": 1}, labels={"disk": "fast", "rack": "1"}
    )
    assert places(spec, node) == []


@pytest.mark.parametrize(
    "spec",
    [
        make_spec(cpu=8, memory=8, disk=8, gpus=2, extras={"slot": 1}),
        make_spec(gpus=1, models=["A100", "H800"]),
        make_spec(gpus=1, device_memory=80),
        make_spec(cpu=1, labels={"disk": "fast"}),
        make_spec(cpu=1, regions=["r1", "r2"], centers=["c1", "c2"]),
    ],
    ids=str,
)
def test_a_node_that_has_just_enough_is_chosen(spec: Spec) -> None:
    node = make_node(
        gpus=2, cpu=8, memory=8, disk=8, extras={"slot": 1}, labels={"disk": "fast", "rack": "1"}
    )
    assert node_of(spec, node) == "n1"


def test_a_blocked_node_is_not_chosen_until_it_is_unblocked() -> None:
    columns, state = make_columns(make_node())
    planner, shape = Planner(columns), make_spec(cpu=1).shape
    for bit in (Blocker.CORDONED, Blocker.SUSPECT, Blocker.CONFLICT):
        commit(state, blockers=(SetBlockers("n1", bit),))
        assert planner.plan(shape, 1) == ([], 0)
        commit(state, blockers=(SetBlockers("n1", 0, bit),))
        assert planner.plan(shape, 1)[1] == 1


def test_a_sick_device_is_not_given_out() -> None:
    devices = (Device("n1-d0", "H800", 80 * GIB, healthy=False), *make_devices("n1", 2)[1:])
    assert places(make_spec(gpus=1), make_node(devices=devices))[0].amounts == whole("n1", 1)
    assert places(make_spec(gpus=2), make_node(devices=devices)) == []


def test_a_device_that_others_use_a_little_is_no_whole_device_but_can_be_shared() -> None:
    node = make_node(devices=make_devices("n1", 1, foreign=100))
    assert places(make_spec(gpus=1), node) == []
    assert places(make_spec(milli=900), node)[0].amounts == (("d/n1-d0", 900),)
    assert places(make_spec(milli=901), node) == []


@pytest.mark.parametrize(
    ("wanted", "model", "want"),
    [
        ("H100", "H100", True),
        ("h100", "H100", True),
        ("H100", "H100-SXM", True),
        ("H100-SXM", "H100", False),
        ("H100", "H1000", False),
        ("H10", "H100", False),
    ],
)
def test_a_model_stands_for_itself_and_its_variants(wanted: str, model: str, want: bool) -> None:
    assert accepts(make_spec(gpus=1, models=[wanted]).shape.part, model, 80 * GIB) is want


# -- the best node ---------------------------------------------------------------------------


def test_the_node_that_is_left_with_least_is_chosen() -> None:
    assert (
        node_of(make_spec(cpu=2), make_node("a", gpus=0, cpu=8), make_node("b", gpus=0, cpu=3))
        == "b"
    )


def test_work_without_devices_keeps_off_nodes_that_have_some() -> None:
    assert node_of(make_spec(cpu=1), make_node("a", gpus=8, cpu=8), make_node("b", gpus=0)) == "b"


def test_equal_nodes_are_told_apart_by_name_not_by_the_order_of_their_coming() -> None:
    nodes = [make_node(name) for name in ("n3", "n1", "n2")]
    assert node_of(make_spec(gpus=1), *nodes) == "n1"
    assert node_of(make_spec(gpus=1), *nodes[::-1]) == "n1"


def test_a_name_that_comes_later_takes_its_place_in_the_order() -> None:
    columns, state = make_columns(make_node("n2"))
    planner, shape = Planner(columns), make_spec(gpus=1).shape
    assert planner.plan(shape, 1)[0][0].node == "n2"
    commit(state, nodes=(PutNode("n1", make_node("n1")),))
    assert planner.plan(shape, 1)[0][0].node == "n1"


# -- devices ---------------------------------------------------------------------------------


def test_a_share_goes_to_the_fullest_device_that_takes_it() -> None:
    columns, state = make_columns(make_node(gpus=4))
    used = (("d/n1-d0", 100), ("d/n1-d1", 600), ("d/n1-d2", 700))
    commit(state, reserve=(NodeAmounts("n1", used),))
    planner = Planner(columns)
    assert planner.plan(make_spec(milli=400).shape, 1)[0][0].amounts == (("d/n1-d1", 400),)
    assert planner.plan(make_spec(milli=300).shape, 1)[0][0].amounts == (("d/n1-d2", 300),)
    assert planner.plan(make_spec(milli=950).shape, 1)[0][0].amounts == (("d/n1-d3", 950),)


def test_whole_devices_of_one_part_are_all_of_one_model() -> None:
    mixed = (*make_devices("n1", 2, "H800"), Device("n1-d2", "A100", 80 * GIB))
    assert places(make_spec(gpus=3), make_node(devices=mixed)) == []
    assert places(make_spec(gpus=3, models=["H800", "A100"]), make_node(devices=mixed)) == []
    assert places(make_spec(gpus=2), make_node(devices=mixed))[0].model == "H800"


def test_whole_devices_come_from_the_model_with_the_fewest_that_suffice() -> None:
    mixed = (*make_devices("n1", 3, "H800"), Device("n1-d3", "A100", 80 * GIB))
    place = places(make_spec(gpus=1), make_node(devices=mixed))[0]
    assert (place.model, place.amounts) == ("A100", whole("n1", 3))


def test_the_place_names_the_amounts_of_everything_asked_for() -> None:
    place = places(
        make_spec(gpus=1, cpu=2, memory=3, extras={"slot": 1}), make_node(extras={"slot": 1})
    )
    want = (("cpu_milli", 2000), ("memory_mib", 3 * GIB), ("x/slot", 1), ("d/n1-d0", 1000))
    assert place == [Place("n1", "H800", want)]


# -- gangs -----------------------------------------------------------------------------------


def test_a_gang_has_all_its_places_or_none() -> None:
    columns, _ = make_columns(make_node("a", gpus=2), make_node("b", gpus=1))
    planner = Planner(columns)
    got, count = planner.plan(make_spec(gpus=1).shape, 3)
    assert ([place.node for place in got], count) == (["b", "a", "a"], 3)
    assert planner.plan(make_spec(gpus=1).shape, 4) == ([], 3)


def test_parts_of_a_gang_never_share_a_whole_device() -> None:
    got = places(make_spec(gpus=2, count=4), make_node(gpus=8))
    keys = [key for place in got for key, _ in place.amounts]
    assert len(keys) == len(set(keys)) == 8


def test_shares_of_a_gang_fill_one_device_before_the_next() -> None:
    got = places(make_spec(milli=500, count=3), make_node(gpus=8))
    assert [place.amounts[0][0] for place in got] == ["d/n1-d0", "d/n1-d0", "d/n1-d1"]


# -- determinism and bounds ------------------------------------------------------------------


def test_equal_pools_give_equal_plans() -> None:
    nodes = [make_node(f"n{at}", gpus=at % 5, cpu=4 + at % 3) for at in range(20)]
    specs = [make_spec(gpus=1), make_spec(cpu=2, count=7), make_spec(milli=300)]
    first, second = make_columns(*nodes), make_columns(*reversed(nodes))
    planners = Planner(first[0]), Planner(second[0])
    for spec in specs * 5:
        plans = [planner.plan(spec.shape, spec.parts)[0] for planner in planners]
        assert plans[0] == plans[1] != []
        for state in (first[1], second[1]):
            commit(state, reserve=tuple(NodeAmounts(p.node, p.amounts) for p in plans[0]))


def test_asking_changes_nothing() -> None:
    columns, state = make_columns(make_node())
    planner, shape = Planner(columns), make_spec(gpus=1).shape
    assert planner.plan(shape, 1) == planner.plan(shape, 1)
    assert state.nodes["n1"].used == {}


def test_shapes_beyond_the_bound_push_out_the_one_used_longest_ago() -> None:
    columns, _ = make_columns(make_node())
    planner = Planner(columns)
    shapes = [make_spec(cpu=cores).shape for cores in range(1, 5)]
    with mock.patch.object(planner_module, "MAX_SHAPES", 3):
        for shape in (*shapes[:3], shapes[0], shapes[3]):
            planner.plan(shape, 1)
    assert list(planner._indexes) == [shapes[2], shapes[0], shapes[3]]


def test_rows_held_beyond_the_bound_push_out_shapes_but_never_the_last() -> None:
    columns, _ = make_columns(*(make_node(f"n{at}") for at in range(5)))
    planner = Planner(columns)
    shapes = [make_spec(cpu=cores).shape for cores in range(1, 4)]
    with mock.patch.object(planner_module, "MAX_HELD", 4):
        for shape in shapes:
            assert planner.plan(shape, 1)[1] == 1
    assert list(planner._indexes) == shapes[2:]
