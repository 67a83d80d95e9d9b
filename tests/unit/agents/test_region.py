"""The region that comes with the product: what is stated about it holds, the rest is marked.

Agents and broker share nothing, but the totals of the region can only be told with the broker's
catalogue of accelerators: this test is where the two meet.
"""

from __future__ import annotations

import pytest

from computepool_agents.scenario import CenterPlan, Scenario, default_path, load
from computepool_broker.model.accelerators import GFLOPS_PER_P, catalogue


def peak_p(centers: list[CenterPlan]) -> float:
    gflops = sum(
        group.count * group.devices * catalogue().peak_gflops(group.model, "fp16")
        for center in centers
        for group in center.groups
    )
    return gflops / GFLOPS_PER_P


def half_a_node_p(centers: list[CenterPlan]) -> float:
    return min(
        group.devices * catalogue().peak_gflops(group.model, "fp16") / GFLOPS_PER_P / 2
        for center in centers
        for group in center.groups
        if group.devices
    )


def fact(scenario: Scenario, about: str, field: str) -> str | float:
    (value,) = [f.value for f in scenario.facts if (f.about, f.field) == (about, field)]
    return value


@pytest.fixture(scope="module")
def region() -> Scenario:
    return load(default_path())


def of(region: Scenario, name: str) -> list[CenterPlan]:
    return [center for center in region.centers if center.region == name]


def named(region: Scenario, name: str) -> CenterPlan:
    (center,) = [center for center in region.centers if center.name == name]
    return center


@pytest.mark.parametrize(("name", "want"), [("beijing", 12_000), ("hebei", 7_600)])
def test_totals_come_out_as_stated(region: Scenario, name: str, want: float) -> None:
    centers = of(region, name)
    assert fact(region, name, "peak_p") == want
    assert abs(peak_p(centers) - want) <= half_a_node_p(centers)


@pytest.mark.parametrize(
    ("name", "want"), [("beijing", "core"), ("tianjin", "support"), ("hebei", "receiver")]
)
def test_regions_have_the_stated_roles(region: Scenario, name: str, want: str) -> None:
    assert {center.role for center in of(region, name)} == {want}
    assert fact(region, name, "role") == want


def test_zhangjiakou_has_27_green_centers_of_many_sizes(region: Scenario) -> None:
    centers = of(region, "hebei")
    assert [center.name for center in centers] == [f"zhangjiakou-{n:02d}" for n in range(1, 28)]
    assert fact(region, "hebei", "centers") == 27
    assert {center.labels["energy"] for center in centers} == {"green"}
    sizes = sorted(sum(group.count for group in center.groups) for center in centers)
    assert len(set(sizes)) > 15
    assert sizes[-1] > 5 * sizes[0]


def test_one_center_of_tianjin_is_over_90_percent_used(region: Scenario) -> None:
    binhai = named(region, "tianjin-binhai")
    bound = fact(region, "tianjin-binhai", "foreign_share_above")
    assert isinstance(bound, float)
    assert bound == 0.90
    assert binhai.foreign_share > bound
    assert float(binhai.labels["cross_region_share"]) == 0.88
    assert "labels.cross_region_share" not in binhai.assumed
    assert [c.name for c in region.centers if c.foreign_share > 0.9] == ["tianjin-binhai"]


def test_the_pool_in_wuqing_is_liquid_cooled(region: Scenario) -> None:
    wuqing = named(region, "wuqing-liquid")
    assert wuqing.region == "tianjin"
    assert wuqing.labels["cooling"] == "liquid"
    assert "labels.cooling" not in wuqing.assumed


def test_one_machine_can_simulate_it(region: Scenario) -> None:
    nodes = sum(group.count for center in region.centers for group in center.groups)
    assert 2_500 <= nodes <= 4_500


def test_every_model_is_in_the_catalogue_with_its_memory(region: Scenario) -> None:
    groups = [group for center in region.centers for group in center.groups if group.devices]
    assert len({group.model for group in groups}) >= 8
    for group in groups:
        accelerator = catalogue().find(group.model)
        assert accelerator is not None
        assert accelerator.model == group.model, "the catalogue's own spelling, no alias"
        assert accelerator.memory_mib == group.device_memory_mib


def test_a_pool_without_devices_can_be_asked_for_too(region: Scenario) -> None:
    assert any(group.devices == 0 for center in region.centers for group in center.groups)


def test_all_that_is_not_stated_is_marked_as_assumed(region: Scenario) -> None:
    for center in region.centers:
        assert {"name", "nodes", "foreign_share", "latency_ms", "labels.pue"} == set(center.assumed)
        for group in center.groups:
            assert {"cpu_milli", "memory_mib", "disk_mib", "devices"} == set(group.assumed)
    assert all(fact.source.startswith("given") for fact in region.facts)
    assert all(len(why) > 40 for why in region.assumptions.values())


def test_stated_labels_are_facts(region: Scenario) -> None:
    for center in region.centers:
        for label in set(center.labels) - {"pue"}:
            abouts = {center.name, center.region}
            (value,) = [f.value for f in region.facts if f.about in abouts and f.field == label]
            assert str(value) == center.labels[label]
