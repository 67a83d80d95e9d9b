"""Power: never less than asked, and no other choice of devices overshoots less."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import Blocker, NodeAmounts, SetBlockers
from computepool_broker.model.accelerators import catalogue
from computepool_broker.model.amounts import devices_of
from computepool_broker.model.request import Power
from computepool_broker.placement import power
from computepool_broker.placement.overshoot import least_overshoot
from computepool_broker.placement.planner import Planner
from support.builders import (
    apply,
    commit,
    make_allocation,
    make_columns,
    make_devices,
    make_node,
    make_spec,
)

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import NodeRecord
    from computepool_broker.model.request import Spec

MODELS = ["H800", "A100", "L20", "unheard-of"]
PEAK = {model: catalogue().peak_gflops(model) for model in MODELS}


@st.composite
def pools(draw: st.DrawFn) -> list[NodeRecord]:
    return [
        make_node(
            f"n{at}",
            devices=make_devices(f"n{at}", draw(st.integers(0, 3)), draw(st.sampled_from(MODELS))),
            cpu=draw(st.integers(0, 3)),
            unschedulable=draw(st.integers(0, 7)) == 0,
        )
        for at in range(draw(st.integers(1, 5)))
    ]


SPECS = st.builds(
    make_spec,
    cpu=st.integers(0, 1),
    models=st.sampled_from([(), (), ("A100", "H800"), ("L20",), ("unheard-of",)]),
    power=st.builds(Power, st.integers(1, 5_000_000), st.just("fp16"), st.booleans()),
)


def there(state: LedgerState, spec: Spec) -> Counter[str]:
    """Devices of known models that can be taken, by model; the nodes have one model each."""
    out: Counter[str] = Counter()
    for book in state.nodes.values():
        record = book.record
        if book.blockers or not record.devices:
            continue
        model = record.devices[0].model
        cpu = spec.shape.part.cpu_milli
        most = (record.total.cpu_milli // cpu) if cpu else len(record.devices)
        if PEAK[model] and (not spec.shape.part.models or model in spec.shape.part.models):
            out[model] += min(most, len(record.devices))
    return out


def best_by_trying(have: Counter[str], wanted: Power) -> tuple[int, int] | None:
    """The least sum and the fewest devices."""
    models = sorted(have)
    found = []
    for counts in product(*(range(have[m] + 1) for m in models)):
        total = sum(PEAK[m] * n for m, n in zip(models, counts, strict=True))
        if total >= wanted.gflops and (wanted.mixed or sum(map(bool, counts)) == 1):
            found.append((total, sum(counts)))
    return min(found, default=None)


@settings(max_examples=500, deadline=None)
@given(nodes=pools(), spec=SPECS)
def test_no_choice_overshoots_less_or_has_fewer_devices(
    nodes: list[NodeRecord], spec: Spec
) -> None:
    assert spec.power is not None
    columns, state = make_columns(*nodes)
    planner = Planner(columns)
    places, _ = planner.plan(spec)
    want = best_by_trying(there(state, spec), spec.power)
    assert bool(places) == (want is not None)
    assert bool(planner.fits(spec)) == bool(places)
    if want is None:
        return
    draft = make_allocation("x", spec=spec._replace(parts=len(places)))
    apply(state, lifecycle.grant(state, draft, places))  # it is there: the ledger takes it
    got = sum(len(devices_of(p.amounts)) for p in draft.parts)
    assert (power.gflops_of(draft.parts, "fp16"), got) == want
    assert len({p.node for p in draft.parts}) == len(draft.parts)
    cpu = spec.shape.part.cpu_milli
    for part in draft.parts:
        assert dict(part.amounts).get("cpu_milli", 0) == cpu * len(devices_of(part.amounts))


@settings(max_examples=200, deadline=None)
@given(nodes=pools(), spec=SPECS, data=st.data())
def test_a_part_that_moves_keeps_its_model_and_its_devices(
    nodes: list[NodeRecord], spec: Spec, data: st.DataObject
) -> None:
    columns, state = make_columns(*nodes)
    planner = Planner(columns)
    places, _ = planner.plan(spec)
    if not places:
        return
    draft = make_allocation("x", spec=spec._replace(parts=len(places)))
    apply(state, lifecycle.grant(state, draft, places))
    position = data.draw(st.integers(0, len(places) - 1))
    old = draft.parts[position]
    commit(state, blockers=(SetBlockers(old.node, Blocker.SUSPECT),))
    place = planner.place_again(draft, position)
    if place is None:
        return
    assert (place.model, len(devices_of(place.amounts))) == (
        old.model,
        len(devices_of(old.amounts)),
    )
    assert place.node != old.node
    commit(state, reserve=(NodeAmounts(place.node, place.amounts),))


@settings(max_examples=500, deadline=None)
@given(
    there=st.dictionaries(st.integers(1, 60), st.integers(0, 4), min_size=1, max_size=4),
    target=st.integers(1, 300),
)
def test_the_counts_are_the_best_of_all(there: dict[int, int], target: int) -> None:
    peaks, caps = list(there), list(there.values())
    sums = [
        (sum(p * n for p, n in zip(peaks, counts, strict=True)), sum(counts))
        for counts in product(*(range(cap + 1) for cap in caps))
    ]
    want = min((s for s in sums if s[0] >= target), default=None)
    got = least_overshoot(peaks, caps, target)
    if want is None:
        assert got is None
        return
    assert got is not None
    assert all(n <= cap for n, cap in zip(got, caps, strict=True))
    assert (sum(p * n for p, n in zip(peaks, got, strict=True)), sum(got)) == want


def test_a_whole_region_of_power_overshoots_by_less_than_a_device() -> None:
    peaks = [989_400, 312_000, 119_500, 280_000]
    caps = [9_000, 9_000, 9_000, 9_000]
    got = least_overshoot(peaks, caps, 7_600_000_001)
    assert got is not None
    total = sum(p * n for p, n in zip(peaks, got, strict=True))
    assert 0 <= total - 7_600_000_001 < 100
    assert all(0 <= n <= cap for n, cap in zip(got, caps, strict=True))
