"""Where a request goes, and the reason when it goes nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.ledger.transaction import Blocker, NodeAmounts, SetBlockers
from computepool_broker.model.records import Device
from computepool_broker.placement.explain import explain
from computepool_broker.placement.planner import Planner
from support.builders import (
    commit,
    make_columns,
    make_devices,
    make_node,
    make_resources,
    make_spec,
    whole,
)

if TYPE_CHECKING:
    from computepool_broker.model.records import NodeRecord
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec


def placed(
    spec: Spec, *nodes: NodeRecord, used: dict[str, tuple[str, int]] | None = None
) -> list[str]:
    """Names of the nodes that the parts go to; empty when there is no room."""
    columns, state = make_columns(*nodes)
    for node, amount in (used or {}).items():
        commit(state, reserve=(NodeAmounts(node, (amount,), forced=True),))
    return [place.node for place in Planner(columns).plan(spec)[0]]


def refusal(spec: Spec, *nodes: NodeRecord, cordoned: str = "") -> Refusal:
    columns, state = make_columns(*nodes)
    if cordoned:
        commit(state, blockers=(SetBlockers(cordoned, Blocker.CORDONED),))
    places, placeable = Planner(columns).plan(spec)
    assert places == []
    return explain(columns, spec, placeable, lambda _: 5)


def test_the_node_that_is_left_with_least_is_best() -> None:
    nodes = [make_node("n1", gpus=8), make_node("n2", gpus=2), make_node("n3", gpus=4)]
    assert placed(make_spec(gpus=2), *nodes) == ["n2"]


def test_work_without_devices_keeps_off_nodes_that_have_some() -> None:
    assert placed(make_spec(cpu=1), make_node("n1", gpus=8), make_node("n2", gpus=0)) == ["n2"]


def test_equal_nodes_are_taken_by_name_however_they_came() -> None:
    nodes = [make_node(name) for name in ("n3", "n1", "n2")]
    assert (
        placed(make_spec(gpus=1), *nodes) == placed(make_spec(gpus=1), *reversed(nodes)) == ["n1"]
    )


def test_a_share_goes_to_the_fullest_device_that_takes_it() -> None:
    columns, state = make_columns(make_node("n1", gpus=3))
    for device, milli in (("d/n1-d1", 500), ("d/n1-d2", 700)):
        commit(state, reserve=(NodeAmounts("n1", ((device, milli),)),))
    (place,), _ = Planner(columns).plan(make_spec(milli=400))
    assert place.amounts == (("d/n1-d1", 400),)


def test_a_share_never_spans_devices() -> None:
    columns, state = make_columns(make_node("n1", gpus=2))
    for device in ("d/n1-d0", "d/n1-d1"):
        commit(state, reserve=(NodeAmounts("n1", ((device, 600),)),))
    assert Planner(columns).plan(make_spec(milli=500)) == ([], 0)


def test_whole_devices_come_from_one_model_and_spare_the_larger_group() -> None:
    devices = (
        *make_devices("n1", 3, "H800"),
        Device("y0", "A100", 80 * 1024),
        Device("y1", "A100", 80 * 1024),
    )
    columns, _ = make_columns(make_node("n1", devices=devices))
    (place,), _ = Planner(columns).plan(make_spec(gpus=2))
    assert (place.model, place.amounts) == ("A100", (("d/y0", 1000), ("d/y1", 1000)))
    assert Planner(columns).plan(make_spec(gpus=4)) == ([], 0)


def test_a_shared_or_sick_or_foreign_device_is_not_whole() -> None:
    devices = (
        Device("a", "H800", 1, healthy=False),
        Device("b", "H800", 1, foreign_milli=1),
        Device("c", "H800", 1),
    )
    node = make_node("n1", devices=devices)
    assert placed(make_spec(gpus=1), node) == ["n1"]
    assert placed(make_spec(gpus=1), node, used={"n1": ("d/c", 1)}) == []


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        (make_spec(gpus=1, models=["A100"]), ["n2"]),
        (make_spec(gpus=1, models=["A100", "H800"], device_memory=100), ["n3"]),
        (make_spec(cpu=1, regions=["r2"]), ["n3"]),
        (make_spec(cpu=1, centers=["c2"]), ["n2"]),
        (make_spec(cpu=1, labels={"kind": "x"}), ["n2"]),
        (make_spec(cpu=1, labels={"kind": "x", "other": "y"}), []),
        (make_spec(cpu=1, extras={"slot": 2}), ["n3"]),
        (make_spec(cpu=1, extras={"slot": 3}), []),
        (make_spec(cpu=1, extras={"unheard-of": 1}), []),
    ],
)
def test_each_filter_leaves_only_what_passes(spec: Spec, want: list[str]) -> None:
    nodes = (
        make_node("n1"),
        make_node("n2", model="A100", center="c2", labels={"kind": "x"}, agent="a2"),
        make_node(
            "n3",
            devices=make_devices("n3", 2, "H800", memory=141),
            center="c3",
            region="r2",
            extras={"slot": 2},
            agent="a3",
        ),
    )
    assert placed(spec, *nodes) == want


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    nodes = [make_node("n1", gpus=2), make_node("n2", gpus=1)]
    assert placed(make_spec(gpus=1, count=3), *nodes) == ["n2", "n1", "n1"]
    assert placed(make_spec(gpus=1, count=4), *nodes) == []


def test_parts_of_a_gang_on_one_node_have_devices_of_their_own() -> None:
    columns, _ = make_columns(make_node("n1", gpus=4))
    places, _ = Planner(columns).plan(make_spec(gpus=2, count=2))
    assert [place.amounts for place in places] == [whole("n1", 0, 1), whole("n1", 2, 3)]


@pytest.mark.parametrize(
    ("spec", "node", "want"),
    [
        (make_spec(cpu=9), make_node(cpu=8), ("CPU", "cpu_milli", 1000)),
        (make_spec(memory=9), make_node(memory=8), ("MEMORY", "memory_mib", 1024)),
        (make_spec(disk=9), make_node(disk=8), ("DISK", "disk_mib", 1024)),
        (make_spec(gpus=9), make_node(gpus=8), ("DEVICES", "devices", 1)),
        (
            make_spec(milli=500),
            make_node(devices=make_devices("n1", 1, foreign=700)),
            ("DEVICE_SHARE", "device_milli", 200),
        ),
        (make_spec(extras={"slot": 3}), make_node(extras={"slot": 1}), ("EXTRA", "slot", 2)),
        (make_spec(gpus=1, models=["B200"]), make_node(), ("MODEL", "", 0)),
        (make_spec(cpu=1, labels={"a": "b"}), make_node(), ("LABELS", "", 0)),
        (make_spec(cpu=1, regions=["r9"]), make_node(), ("REGION_NOT_ALLOWED", "", 0)),
        (make_spec(cpu=1, centers=["c9"]), make_node(), ("CENTER_NOT_ALLOWED", "", 0)),
        (make_spec(cpu=1), make_node(unschedulable=True), ("NOT_SCHEDULABLE", "", 0)),
        (make_spec(gpus=1, count=9), make_node(gpus=8), ("GANG", "parts", 1)),
        # Both are short: the first filter in the list is the reason.
        (make_spec(gpus=9, cpu=99), make_node(gpus=8, cpu=8), ("DEVICES", "devices", 1)),
    ],
)
def test_the_first_blocking_reason_and_the_missing_amount(
    spec: Spec, node: NodeRecord, want: tuple[str, str, int]
) -> None:
    (center,) = refusal(spec, node).centers
    assert (center.reason, center.resource, center.missing) == want
    assert center.age_ms == 5


def test_foreign_use_counts_as_missing() -> None:
    node = make_node(cpu=8, foreign=make_resources(6))
    assert refusal(make_spec(cpu=4), node).centers[0].missing == 2000


def test_the_nearest_center_comes_first_and_is_named_in_the_summary() -> None:
    told = refusal(
        make_spec(gpus=4),
        make_node("n1", gpus=1, center="far"),
        make_node("n2", gpus=3, center="near", agent="a2"),
        make_node("n3", center="closed", agent="a3"),
        cordoned="n3",
    )
    assert [c.center for c in told.centers][:2] == ["near", "far"]
    assert "near" in told.summary
    assert "1 device missing" in told.summary


def test_a_gang_that_fits_only_over_several_centers_says_how_many_parts_do() -> None:
    told = refusal(
        make_spec(gpus=1, count=9),
        make_node("n1", gpus=4, center="c1"),
        make_node("n2", gpus=3, center="c2", agent="a2"),
    )
    assert told.parts_placeable == 7
    assert {c.center: c.missing for c in told.centers} == {"c1": 5, "c2": 6}


def test_an_empty_pool_says_so() -> None:
    assert "no agent has reported" in refusal(make_spec(gpus=1)).summary
