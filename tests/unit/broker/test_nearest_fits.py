"""What would fit instead: every kind of it, in words, and really so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool_broker.ledger.transaction import NodeAmounts
from computepool_broker.model.request import Power, Spread, SpreadOver
from computepool_broker.placement.nearest import nearest_fits
from computepool_broker.placement.planner import Planner
from support.builders import commit, make_columns, make_devices, make_node, make_spec

if TYPE_CHECKING:
    from computepool_broker.model.records import NodeRecord
    from computepool_broker.model.refusal import NearestFit
    from computepool_broker.model.request import Spec


def fits(spec: Spec, *nodes: NodeRecord) -> tuple[NearestFit, ...]:
    columns, state = make_columns(*nodes)
    planner = Planner(columns)
    assert planner.plan(spec)[0] == []
    told = nearest_fits(planner, spec)
    for near in told:
        places, _ = Planner(columns).plan(near.spec)
        assert places, near
        assert state.nodes[places[0].node].record.center == near.center
    return told


def far(name: str = "n2", **fields: object) -> NodeRecord:
    base = {"center": "c2", "region": "r2", "agent": "a2"}
    return make_node(name, **{**base, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "nodes", "field", "summary"),
    [
        (
            make_spec(gpus=8),
            [make_node(gpus=6)],
            "part.devices",
            "with 6 devices instead of 8",
        ),
        (
            make_spec(gpus=2, count=5),
            [make_node(gpus=6)],
            "count",
            "with 3 parts instead of 5",
        ),
        (
            make_spec(cpu=9),
            [make_node(cpu=4)],
            "part.resources.cpu_milli",
            "with 4 cores instead of 9",
        ),
        (
            make_spec(memory=9),
            [make_node(memory=4)],
            "part.resources.memory_mib",
            "with 4 GiB memory instead of 9 GiB",
        ),
        (
            make_spec(cpu=1, disk=9),
            [make_node(disk=4)],
            "part.resources.disk_mib",
            "with 4 GiB disk instead of 9 GiB",
        ),
        (
            make_spec(extras={"slot": 5}),
            [make_node(extras={"slot": 2})],
            "part.resources.extras[slot]",
            "with 2 slot instead of 5",
        ),
        (
            make_spec(gpus=1, centers=["c1"]),
            [make_node(gpus=0), far()],
            "centers",
            "if c2 were allowed",
        ),
        (
            make_spec(gpus=1, centers=["c1"], regions=["r1"]),
            [make_node(gpus=0), far()],
            "centers",
            "if c2 were allowed",
        ),
        (
            make_spec(gpus=1, regions=["r1"]),
            [make_node(gpus=0), far()],
            "regions",
            "if r2 were allowed",
        ),
        (
            make_spec(gpus=1, models=["A100"]),
            [make_node()],
            "part.models",
            "with H800 also accepted",
        ),
        (
            make_spec(gpus=3, count=2, models=["A100"]),
            [make_node(gpus=3, model="H800"), far(gpus=3, model="L20")],
            "part.models",
            "with H800 and L20 also accepted",
        ),
        (
            make_spec(gpus=1, device_memory=120),
            [make_node(), far(devices=make_devices("n2", 1, memory=40))],
            "part.min_device_memory_mib",
            "with 80 GiB of device memory instead of 120 GiB",
        ),
        (
            make_spec(gpus=1, labels={"disk": "fast", "fabric": "ib"}),
            [make_node(labels={"fabric": "ib"})],
            "node_labels",
            "without the label disk=fast",
        ),
        (
            make_spec(gpus=1),
            [make_node(devices=make_devices("n1", 2, foreign=320))],
            "part.device_milli",
            "with 650/1000 of one device instead of 1 device",
        ),
        (
            make_spec(milli=700),
            [make_node(devices=make_devices("n1", 2, foreign=320))],
            "part.device_milli",
            "with 650/1000 of one device instead of 700/1000 of one device",
        ),
        (
            make_spec(gpus=1, count=6, spread=Spread(SpreadOver.CENTERS, 1)),
            [make_node(gpus=8), far(gpus=1)],
            "spread.max_skew",
            "with a skew of 4 instead of 1",
        ),
        (
            make_spec(power=Power(8_000_000)),
            [make_node(gpus=7)],
            "power.gflops",
            "with 6.9258 P instead of 8 P",
        ),
        (
            make_spec(power=Power(1_200_000)),
            [make_node(gpus=1), far(gpus=1, model="A100")],
            "power.mixed",
            "with devices of several models",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_is_told_in_words(
    spec: Spec, nodes: list[NodeRecord], field: str, summary: str
) -> None:
    found = {near.field: near for near in fits(spec, *nodes)}
    assert found[field].summary == summary


def test_what_gives_up_least_comes_first() -> None:
    spec = make_spec(gpus=8, cpu=4, models=["A100"], centers=["c1"])
    told = fits(
        spec,
        make_node("n1", gpus=8, model="H800"),
        make_node("n3", gpus=7, model="A100"),
        far("n2", gpus=8, model="A100"),
    )
    assert [near.field for near in told[:3]] == ["centers", "part.devices", "part.models"]
    assert told[0].asked == "c1"
    assert told[0].center == "c2"


def test_nothing_is_told_of_an_empty_pool_or_where_nothing_would_help() -> None:
    assert fits(make_spec(gpus=1)) == ()
    assert fits(make_spec(gpus=1), make_node(unschedulable=True)) == ()


def test_more_than_eight_are_not_told() -> None:
    extras = {f"e{n}": 9 for n in range(8)}
    have = {f"e{n}": 9 for n in range(7)}
    spec = make_spec(gpus=8, cpu=8, memory=8, disk=8, count=2, extras=extras)
    labels = {"e": "1"}
    node = make_node(gpus=16, extras={**have, "e7": 17}, labels=labels)
    assert len(fits(spec, node)) <= 8


SIZES = st.integers(0, 4)


@settings(max_examples=200, deadline=None)
@given(
    nodes=st.lists(
        st.tuples(SIZES, SIZES, st.sampled_from(["H800", "A100"]), st.sampled_from("12")),
        min_size=1,
        max_size=4,
    ),
    gpus=st.integers(0, 5),
    cpu=st.integers(1, 5),
    count=st.integers(1, 4),
    narrow=st.fixed_dictionaries(
        {},
        optional={
            "models": st.just(["A100"]),
            "centers": st.just(["c1"]),
            "regions": st.just(["r1"]),
            "device_memory": st.sampled_from([40, 90]),
        },
    ),
    over=st.sampled_from([None, *SpreadOver]),
    used=st.integers(0, 900),
)
def test_all_that_is_told_would_be_granted(
    nodes: list[tuple[int, int, str, str]],
    gpus: int,
    cpu: int,
    count: int,
    narrow: dict[str, object],
    over: SpreadOver | None,
    used: int,
) -> None:
    spread = None if over is None else Spread(over)
    if not gpus:
        narrow = {k: v for k, v in narrow.items() if k in ("centers", "regions")}
    spec = make_spec(gpus=gpus, cpu=cpu, count=count, spread=spread, **narrow)  # type: ignore[arg-type]
    made = [
        make_node(f"n{at}", gpus=g, cpu=c, model=m, center=f"c{k}", region=f"r{k}", agent=f"a{k}")
        for at, (g, c, m, k) in enumerate(nodes)
    ]
    columns, state = make_columns(*made)
    if used:
        commit(state, reserve=(NodeAmounts("n0", (("d/n0-d0", used),), forced=True),))
    planner = Planner(columns)
    if planner.plan(spec)[0]:
        return
    told = nearest_fits(planner, spec)
    for near in told:
        places, _ = Planner(columns).plan(near.spec)
        assert places, near
        assert state.nodes[places[0].node].record.center == near.center
    by_field = {near.field: near for near in told}
    if "part.devices" in by_field:
        part = by_field["part.devices"].spec.shape.part
        more = part._replace(devices=part.devices + 1)
        again = spec._replace(shape=spec.shape._replace(part=more))
        assert planner.plan(again)[0] == []
