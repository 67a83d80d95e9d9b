"""Why there is no room: the first filter that left no node, and what the best node lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.ledger.transaction import Blocker, NodeAmounts, PutNode, SetBlockers
from computepool_broker.model.request import Power, Spread, SpreadOver
from computepool_broker.placement.explain import explain
from computepool_broker.placement.planner import Planner
from support.builders import (
    GIB,
    commit,
    make_columns,
    make_devices,
    make_node,
    make_resources,
    make_spec,
)

if TYPE_CHECKING:
    from computepool_broker.model.records import NodeRecord
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec


def refusal(spec: Spec, *nodes: NodeRecord) -> Refusal:
    columns, _ = make_columns(*nodes)
    places, placeable = Planner(columns).plan(spec)
    assert not places
    return explain(columns, spec, placeable, lambda _: 7)


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        (make_spec(cpu=9), ("CPU", "cpu_milli", 1000, 2)),
        (make_spec(memory=9), ("MEMORY", "memory_mib", GIB, 2)),
        (make_spec(disk=10), ("DISK", "disk_mib", 2 * GIB, 2)),
        (make_spec(gpus=5), ("DEVICES", "devices", 3, 2)),
        (make_spec(extras={"slot": 4}), ("EXTRA", "slot", 3, 2)),
        (make_spec(extras={"never": 4}), ("EXTRA", "never", 4, 2)),
        (make_spec(gpus=1, models=["A100"]), ("MODEL", "", 0, 2)),
        (make_spec(gpus=1, device_memory=81), ("MODEL", "", 0, 2)),
        (make_spec(cpu=1, labels={"disk": "slow"}), ("LABELS", "", 0, 2)),
        (make_spec(cpu=1, regions=["r2"]), ("REGION_NOT_ALLOWED", "", 0, 0)),
        (make_spec(cpu=1, centers=["c2"]), ("CENTER_NOT_ALLOWED", "", 0, 0)),
        (make_spec(gpus=2, count=2), ("GANG", "parts", 1, 1)),
    ],
    ids=str,
)
def test_a_center_names_its_first_blocking_reason_and_what_the_best_node_lacks(
    spec: Spec, want: tuple[str, str, int, int]
) -> None:
    story = refusal(
        spec,
        make_node("n1", gpus=2, cpu=8, memory=8, disk=8, extras={"slot": 1}),
        make_node("n2", gpus=1, cpu=4, memory=4, disk=4),
    )
    (center,) = story.centers
    assert (center.reason, center.resource, center.missing, center.nodes) == want
    assert (center.center, center.region, center.age_ms) == ("c1", "r1", 7)


def test_a_share_lacks_what_the_freest_device_lacks() -> None:
    devices = make_devices("n1", 2, foreign=600)
    (center,) = refusal(make_spec(milli=700), make_node(devices=devices)).centers
    assert (center.reason, center.resource, center.missing) == ("DEVICE_SHARE", "device_milli", 300)


def test_a_center_outside_what_was_asked_for_is_never_the_nearest() -> None:
    nodes = (make_node("n1", center="a", region="r1"), make_node("n2", center="b", region="r2"))
    story = refusal(make_spec(gpus=1, models=["A100"], regions=["r2"]), *nodes)
    assert [c.reason for c in story.centers] == ["MODEL", "REGION_NOT_ALLOWED"]
    assert story.summary == "no room for 1 device (A100): no node asked for has such a device"


@pytest.mark.parametrize("count", [1, 2])
def test_a_name_that_no_center_has_is_said_so(count: int) -> None:
    story = refusal(make_spec(cpu=1, regions=["r9"], count=count), make_node("n1", cpu=4))
    assert story.summary.endswith("the pool has no center in the regions and centers asked for")


def test_only_nodes_that_passed_the_earlier_filters_count() -> None:
    story = refusal(
        make_spec(gpus=1, cpu=9), make_node("n1", gpus=1, cpu=8), make_node("n2", gpus=0)
    )
    (center,) = story.centers
    assert (center.reason, center.missing, center.nodes) == ("CPU", 1000, 1)


def test_a_blocked_center_says_so_rather_than_no_capacity() -> None:
    columns, state = make_columns(make_node())
    commit(state, blockers=(SetBlockers("n1", Blocker.CORDONED),))
    story = explain(columns, make_spec(gpus=99), 0, lambda _: 0)
    assert story.centers[0].reason == "NOT_SCHEDULABLE"


def test_a_center_whose_nodes_have_all_left_is_left_out() -> None:
    columns, state = make_columns(make_node())
    commit(state, nodes=(PutNode("n1", None),))
    story = explain(columns, make_spec(cpu=1), 0, lambda _: -1)
    assert story.centers == ()


def test_what_others_use_is_missing_too() -> None:
    node = make_node(gpus=0, cpu=2, foreign=make_resources(cpu=3))
    assert refusal(make_spec(cpu=1), node).centers[0].missing == 2000


def test_the_center_that_lacks_least_comes_first_and_impossible_ones_last() -> None:
    story = refusal(
        make_spec(gpus=4, regions=["r1"]),
        make_node("a", center="elsewhere", region="r2"),
        make_node("b", center="far", gpus=1),
        make_node("c", center="near", gpus=3),
        make_node("d", center="none", gpus=0),
    )
    got = [(c.center, c.reason, c.missing) for c in story.centers]
    want = [
        ("near", "DEVICES", 1),
        ("far", "DEVICES", 3),
        ("none", "MODEL", 0),
        ("elsewhere", "REGION_NOT_ALLOWED", 0),
    ]
    assert got == want


def test_equal_centers_are_told_apart_by_name() -> None:
    nodes = [make_node(f"n-{name}", center=name, gpus=0) for name in ("c2", "c3", "c1")]
    story = refusal(make_spec(cpu=65), *nodes)
    assert [c.center for c in story.centers] == ["c1", "c2", "c3"]


def test_where_no_center_has_it_none_is_called_the_nearest() -> None:
    unlabelled = refusal(make_spec(cpu=1, labels={"rack": "7"}), make_node("a"))
    assert unlabelled.summary.endswith(": no node asked for carries the labels")
    one_has = refusal(
        make_spec(gpus=2, models=["A100"]),
        make_node("a", center="c1", gpus=1, model="A100"),
        make_node("b", center="c2", gpus=2),
    )
    assert one_has.summary.endswith(": nearest is c1, DEVICES (1 device missing)")


def test_a_gang_of_which_nothing_fits_says_so() -> None:
    story = refusal(make_spec(gpus=8, count=2), make_node("a", gpus=4))
    assert story.summary.endswith(": none of the parts can be placed now")


def test_a_gang_says_how_many_parts_fit_in_the_pool_and_in_each_center() -> None:
    story = refusal(
        make_spec(gpus=1, count=6),
        make_node("a", center="big", gpus=3),
        make_node("b", center="small", gpus=1),
    )
    assert story.parts_placeable == 4
    assert [(c.center, c.missing, c.nodes) for c in story.centers] == [
        ("big", 3, 1),
        ("small", 5, 1),
    ]
    assert story.summary == "no room for 6 x (1 device (any model)): only 4 parts can be placed now"


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        (
            make_spec(cpu=10),
            "no room for 10 cores: nearest is c1, CPU (2 cores missing)",
        ),
        (
            make_spec(gpus=3, models=["H800"]),
            "no room for 3 devices (H800): nearest is c1, DEVICES (1 device missing)",
        ),
        (
            make_spec(cpu=9),
            "no room for 9 cores: nearest is c1, CPU (1 core missing)",
        ),
        (
            make_spec(gpus=2, count=2),
            "no room for 2 x (2 devices (any model)): only 1 part can be placed now",
        ),
        (
            make_spec(memory=9),
            "no room for 9216 MiB memory: nearest is c1, MEMORY (1024 MiB memory missing)",
        ),
        (
            make_spec(extras={"slot": 1}),
            "no room for 1 slot: nearest is c1, EXTRA (1 slot missing)",
        ),
        (
            make_spec(milli=500, models=["A100"]),
            "no room for 500/1000 of one device (A100): no node asked for has such a device",
        ),
    ],
    ids=str,
)
def test_the_summary_is_a_sentence_in_peoples_units(spec: Spec, want: str) -> None:
    assert refusal(spec, make_node(gpus=2, cpu=8, memory=8)).summary == want


def test_an_empty_pool_says_that_nobody_has_reported() -> None:
    story = refusal(make_spec(cpu=1))
    assert story.summary == "no room for 1 core: no agent has reported a node yet"
    assert story.centers == ()


def test_the_story_is_true_for_the_view_that_it_names() -> None:
    columns, state = make_columns(make_node(cpu=1))
    before = explain(columns, make_spec(cpu=2), 0, lambda _: 0)
    commit(state, nodes=(PutNode("n1", make_node(cpu=1, foreign=make_resources(cpu=1))),))
    after = explain(columns, make_spec(cpu=2), 0, lambda _: 0)
    assert after.revision > before.revision
    assert (before.centers[0].missing, after.centers[0].missing) == (1000, 2000)


def test_parts_that_fit_but_not_so_evenly_are_refused_by_the_spread() -> None:
    spec = make_spec(gpus=1, count=6, spread=Spread(SpreadOver.CENTERS, 1))
    nodes = (make_node("n1", center="c1", gpus=7), make_node("n2", center="c2", gpus=1))
    story = refusal(spec, *nodes)
    got = [(c.center, c.reason, c.resource, c.missing, c.nodes) for c in story.centers]
    assert got == [("c1", "SPREAD", "parts", 4, 1), ("c2", "SPREAD", "parts", 5, 1)]
    assert story.parts_placeable == 3
    assert story.beyond_pool
    assert story.summary == (
        "no room for 6 x (1 device (any model)) spread over centers with a skew of 1: "
        "only 3 parts can be placed now"
    )


def test_a_full_domain_counts_and_one_that_the_request_rules_out_does_not() -> None:
    nodes = (
        make_node("n1", center="c1", gpus=4),
        make_node("n2", center="c2", gpus=4),
        make_node("n3", center="c3", devices=make_devices("n3", 1, foreign=1)),
    )
    spec = make_spec(gpus=1, count=4, spread=Spread(SpreadOver.CENTERS, 1))
    story = refusal(spec, *nodes)
    assert {c.center: c.reason for c in story.centers} == {
        "c1": "SPREAD",
        "c2": "SPREAD",
        "c3": "DEVICES",
    }
    columns, _ = make_columns(*nodes)
    narrow = spec._replace(shape=spec.shape._replace(centers=("c1", "c2")))
    places, _ = Planner(columns).plan(narrow)
    assert sorted(place.node for place in places) == ["n1", "n1", "n2", "n2"]


def test_power_names_what_each_center_lacks_of_it() -> None:
    spec = make_spec(power=Power(5_000_000), models=["H800", "L20", "unheard-of"])
    story = refusal(
        spec,
        make_node("n1", center="strong", gpus=4),
        make_node("n2", center="weak", gpus=2, model="L20"),
        make_node("n3", center="unknown", gpus=8, model="unheard-of"),
        make_node("n4", center="other", gpus=8, model="A100"),
    )
    got = [(c.center, c.reason, c.resource, c.missing) for c in story.centers]
    assert got == [
        ("strong", "POWER", "gflops", 5_000_000 - 4 * 989_400),
        ("weak", "POWER", "gflops", 5_000_000 - 2 * 119_500),
        ("unknown", "POWER", "gflops", 5_000_000),
        ("other", "MODEL", "", 0),
    ]
    assert story.summary == (
        "no room for 5 P fp16 (H800/L20/unheard-of): at most 3.9576 P can be had now"
    )
    assert story.beyond_pool


@pytest.mark.parametrize(
    ("spec", "beyond"),
    [
        (make_spec(gpus=4), False),
        (make_spec(gpus=5), True),
        (make_spec(gpus=2, count=2), False),
        (make_spec(gpus=2, count=3), True),
        (make_spec(gpus=4, cpu=8), False),
        (make_spec(gpus=4, cpu=9), True),
        (make_spec(cpu=8, extras={"slot": 2}), False),
        (make_spec(cpu=8, extras={"slot": 3}), True),
        (make_spec(milli=300, count=12), False),
        (make_spec(milli=300, count=13), True),
        (make_spec(gpus=4, labels={"a": "b"}), True),
        (make_spec(gpus=4, regions=["r9"]), True),
        (make_spec(power=Power(4 * 989_400)), False),
        (make_spec(power=Power(4 * 989_400 + 1)), True),
        (make_spec(gpus=1, count=4, spread=Spread(SpreadOver.NODES)), False),
        (make_spec(gpus=1, count=5, spread=Spread(SpreadOver.NODES)), True),
    ],
)
def test_beyond_the_pool_is_what_does_not_fit_even_when_all_is_free(
    spec: Spec, *, beyond: bool
) -> None:
    node = make_node(
        gpus=4,
        cpu=9,
        extras={"slot": 3},
        reserved=make_resources(cpu=1, slot=1),
        foreign=make_resources(cpu=8, slot=2),
    )
    columns, state = make_columns(node)
    for at in range(4):
        amounts = ((f"d/n1-d{at}", 1000),)
        commit(state, reserve=(NodeAmounts("n1", amounts, forced=True),))
    _, placeable = Planner(columns).plan(spec)
    assert explain(columns, spec, placeable, lambda _: 0).beyond_pool is beyond
    commit(state, blockers=(SetBlockers("n1", Blocker.CORDONED),))
    assert explain(columns, spec, placeable, lambda _: 0).beyond_pool is beyond


def test_nothing_is_beyond_a_pool_that_nobody_has_reported_to() -> None:
    assert not refusal(make_spec(gpus=64)).beyond_pool
