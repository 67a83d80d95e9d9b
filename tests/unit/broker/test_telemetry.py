"""The broker's figures as a page: true, bounded, and there also when the store is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics import parser

from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.telemetry import families as shown
from computepool_broker.telemetry import figures
from computepool_broker.telemetry.families import About
from computepool_broker.telemetry.figures import Figures
from computepool_broker.telemetry.metrics import METRICS, Metric
from computepool_broker.telemetry.render import Renderer
from support.broker_kit import THREE, activate, running_broker
from support.builders import make_held, make_node, make_spec
from support.memory_store import MemoryStore
from support.scraped import Scraped

if TYPE_CHECKING:
    from support.broker_kit import BrokerKit

ABOUT = About("1.2.3", "embedded")


async def page_of(kit: BrokerKit) -> Scraped:
    snapshot = await Figures(kit.pool).take()
    return Scraped(Renderer(ABOUT).page(snapshot, False).body.decode())


async def test_devices_are_told_whole_by_center_and_kind() -> None:
    node = make_node("n1", gpus=4, center="c1")
    async with running_broker(node, make_node("n2", agent="a2", gpus=2, center="c2")) as kit:
        await activate(kit, gpus=1, centers=["c1"])
        await kit.create(make_spec(milli=250, centers=["c1"]))
        page = await page_of(kit)

        def devices(center: str, kind: str) -> float:
            return page.value("computepool_devices", region="r1", center=center, kind=kind)

        assert (devices("c1", "total"), devices("c2", "total")) == (4, 2)
        assert (devices("c1", "granted"), devices("c1", "in_flight")) == (1.25, 0.25)
        assert (devices("c1", "free"), devices("c1", "schedulable")) == (2.75, 2.75)
        assert devices("c2", "granted") == 0
        assert page.total("computepool_model_devices", kind="total") == 6
        assert page.value("computepool_nodes", region="r1", center="c1") == 1


async def test_cores_and_bytes_are_base_units() -> None:
    async with running_broker(make_node(cpu=8, memory=2, disk=1)) as kit:
        await kit.create(make_spec(cpu=2, memory=1))
        page = await page_of(kit)
        assert page.value("computepool_cpu_cores", region="r1", kind="total") == 8
        assert page.value("computepool_cpu_cores", region="r1", kind="granted") == 2
        assert page.value("computepool_memory_bytes", region="r1", kind="granted") == 2**30
        assert page.value("computepool_disk_bytes", region="r1", kind="total") == 2**30


async def test_agents_and_allocations_are_told_by_state() -> None:
    async with running_broker(*THREE) as kit:
        await activate(kit, cpu=1, centers=["c1"])
        page = await page_of(kit)
        assert page.value("computepool_agents", state="ACTIVE") == 3
        assert page.value("computepool_agents", state="LOST") == 0
        assert page.value("computepool_allocations", state="ACTIVE") == 1
        assert page.value("computepool_allocations", state="ENDED") == 0
        for _ in range(2):
            await kit.tick()
        page = await page_of(kit)
        assert page.value("computepool_agents", state="DISCONNECTED") == 3
        assert page.value("computepool_data_age_seconds", region="r1", center="c1") == 40


async def test_the_age_of_what_was_never_reported_is_not_told() -> None:
    store = MemoryStore()
    async with running_broker(*THREE[:2], store=store) as kit:
        await activate(kit, cpu=1, centers=["c1"])
        disk = store.disk.backup()
    async with running_broker(store=MemoryStore(disk)) as kit:
        page = await page_of(kit)
        assert page.value("computepool_data_missing", region="r1", center="c1") == 1
        assert page.labels_of("computepool_data_age_seconds") == set()
        assert page.value("computepool_warming_up") == 1
        assert page.value("computepool_agents_expected") == 2


async def test_audits_are_told() -> None:
    async with running_broker(make_node(gpus=2)) as kit:
        await activate(kit, gpus=2)
        assert (await page_of(kit)).value("computepool_audits_total") == 0
        await kit.report([make_node(gpus=1)], held=[make_held(state=HeldState.STARTED)])
        await kit.auditor.run()
        page = await page_of(kit)
        assert page.value("computepool_audits_total") == 1
        assert page.value("computepool_audit_findings", kind="OVERCOMMIT") == 1
        assert page.value("computepool_audit_findings", kind="BOOKS") == 0
        assert page.value("computepool_audit_timestamp_seconds") == 1_000


async def test_the_last_bucket_of_a_distribution_is_its_count() -> None:
    async with running_broker(make_node(gpus=2)) as kit:
        await kit.create(make_spec(gpus=1))
        page = await page_of(kit)
        count = page.value("computepool_plan_seconds_count")
        assert count == 1
        assert page.value("computepool_plan_seconds_bucket", le="+Inf") == count
        assert page.value("computepool_batch_jobs_sum") == page.value(
            "computepool_queue_seconds_count"
        )


async def test_centers_regions_and_models_beyond_their_number_are_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown, "MOST_CENTERS", 2)
    monkeypatch.setattr(shown, "MOST_REGIONS", 1)
    monkeypatch.setattr(shown, "MOST_MODELS", 1)
    nodes = [
        make_node(f"n{i}", agent=f"a{i}", center=f"c{i}", gpus=i, model=f"M{i}")
        for i in range(1, 6)
    ]
    async with running_broker(*nodes) as kit:
        page = await page_of(kit)
        names = {sample.labels["center"] for sample in page.families["computepool_devices"].samples}
        assert names == {"c1", "c2", "OTHER"}
        assert page.total("computepool_devices", kind="total") == 15
        other = {"region": "OTHER", "center": "OTHER"}
        assert page.value("computepool_devices", kind="total", **other) == 12
        assert page.value("computepool_nodes", **other) == 3
        assert page.value("computepool_model_devices", model="OTHER", kind="total") == 14
        assert page.value("computepool_data_missing", **other) == 0


async def test_no_name_of_a_tenant_node_or_agent_is_on_the_page() -> None:
    node = make_node("very-own-node", agent="very-own-agent", gpus=1)
    async with running_broker(node) as kit:
        made = await kit.create(make_spec(gpus=1), "very-own-request")
        await kit.auditor.run()
        snapshot = await Figures(kit.pool).take()
        text = Renderer(ABOUT).page(snapshot, False).body.decode()
        assert "very-own" not in text
        assert made.id not in text


async def test_a_store_that_hangs_does_not_hang_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PATIENCE_S", 0.2)
    store = MemoryStore()
    async with running_broker(make_node(gpus=2), store=store) as kit:
        taken = Figures(kit.pool)
        before = await taken.take()
        store.hold = True
        creating = [asyncio.create_task(kit.create(make_spec(gpus=1))) for _ in range(2)]
        after = await taken.take()
        page = Scraped(Renderer(ABOUT).page(after, False).body.decode())
        assert after.view == before.view  # not what is on its way to the disk
        assert page.value("computepool_allocations", state="RESERVED") == 0
        assert page.value("computepool_view_age_seconds") >= 0.2
        assert page.value("computepool_commits_open") >= 1
        store.let_go()
        await asyncio.gather(*creating)
        assert (await page_of(kit)).value("computepool_allocations", state="RESERVED") == 2


async def test_before_anything_could_be_read_the_rest_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "PATIENCE_S", 0.05)
    store = MemoryStore()
    async with running_broker(make_node(gpus=2), store=store) as kit:
        store.hold = True
        creating = asyncio.create_task(kit.create(make_spec(gpus=1)))
        await asyncio.sleep(0)
        page = await page_of(kit)
        assert "computepool_devices" not in page.names
        assert page.value("computepool_grants_total") == 0
        store.let_go()
        await creating


async def test_the_page_is_valid_openmetrics_too() -> None:
    async with running_broker(make_node(gpus=2)) as kit:
        await activate(kit, gpus=1)
        await kit.auditor.run()
        kit.pool.tally.errors.add("NO_ROOM")
        snapshot = await Figures(kit.pool).take()
        page = Renderer(ABOUT).page(snapshot, True)
        assert page.content_type.startswith("application/openmetrics-text")
        parse: Any = parser.text_string_to_metric_families  # it has no types
        found = {family.name: family for family in parse(page.body.decode())}
        assert {metric.name for metric in METRICS} <= found.keys()
        for metric in METRICS:
            assert found[metric.name].type == metric.kind, metric.name
            assert found[metric.name].documentation == metric.text


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    assert metric.name.startswith("computepool_")
    assert not metric.name.endswith(("_total", "_ms", "_milli", "_mib", "_count", "_sum"))
    assert metric.text[0].isupper() or metric.text[0].isdigit()
    assert metric.text.endswith(".")
    assert not {"tenant", "node", "agent", "allocation", "lease"} & set(metric.labels)
    if metric.kind == "histogram" and metric.name != "computepool_batch_jobs":
        assert metric.name.endswith("_seconds")
