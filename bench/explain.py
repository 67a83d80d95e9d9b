"""`explain`: what reasons cost on 10,000 nodes, in memory and over the wire.

Refusals with all that would fit instead (PreviewAllocation), and explanations of allocations
by id. One call at a time: it is the delay that a person sees, and for that long the broker's
one writer does nothing else.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

from bench.disk import need_disk
from bench.engine_pool import Engine
from bench.output import Output, Row
from bench.pool import CALL_LIMIT_S, Pool, pool
from bench.process import BenchError
from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_broker.model.request import PartSpec, Power, Shape, Spec, Spread, SpreadOver
from computepool_broker.placement import reasons
from computepool_broker.placement.explain import explain
from computepool_broker.placement.nearest import nearest_fits
from computepool_broker.rpc.to_wire import spec_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NODES, AGENTS = 10_000, 10
ROUNDS = 60
TARGET_MS = 30.0

GPU = PartSpec(cpu_milli=8_000, memory_mib=65_536)
"""What goes with a device."""


def refused_requests(center: str) -> dict[str, Spec]:
    """Requests that a half full pool refuses; some for one of its centers."""
    whole = Shape(GPU._replace(devices=8))
    narrow = Shape(GPU._replace(devices=8, cpu_milli=190_000))
    stranger = GPU._replace(devices=8, models=("MI300X",))
    labels = (("fabric", "none"), ("zone", "none"))
    return {
        "too many devices": Spec(Shape(GPU._replace(devices=9))),
        "too much processor": Spec(Shape(GPU._replace(devices=1, cpu_milli=400_000))),
        "a model in one center": Spec(Shape(stranger, centers=(center,))),
        "a label that no node has": Spec(Shape(GPU._replace(devices=1), node_labels=labels)),
        "a gang of 1,000 in one center": Spec(whole._replace(centers=(center,)), 1_000),
        "a spread gang of 1,000": Spec(narrow, 1_000, spread=Spread(SpreadOver.CENTERS)),
        "power of one model": Spec(
            Shape(GPU._replace(models=("A100-SXM",)), centers=(center,)),
            power=Power(5_000_000_000),
        ),
        "power, mixed": Spec(Shape(GPU), power=Power(50_000_000_000, mixed=True)),
    }


def run(out: Output, folder: Path) -> None:
    """In memory first, then over the wire."""
    in_memory(out)
    need_disk(folder)
    with pool(folder, NODES, AGENTS) as ready:
        over_the_wire(out, ready)


def in_memory(out: Output) -> None:
    """The broker's own code, in processor time of this thread."""
    engine = Engine(NODES)
    columns, planner = engine.columns, engine.planner
    center = engine.state.nodes[engine.names[0]].record.center
    for name, spec in refused_requests(center).items():

        def refuse(spec: Spec = spec, name: str = name) -> None:
            places, placeable = planner.plan(spec)
            if places:
                raise BenchError(f"{name}: was not refused")
            explain(columns, spec, placeable, lambda _: 0)
            nearest_fits(planner, spec)

        took = timed(refuse, engine.change_foreign, time.thread_time)
        emit(out, "refusal in memory", name, took)
    rng = random.Random(1)
    known = list(engine.state.allocations.values())

    def say() -> None:
        allocation = rng.choice(known)
        reasons.of_parts(columns, allocation.spec, allocation.parts)
        reasons.funnel_of_part(columns, allocation.spec, allocation.parts)

    emit(out, "allocation in memory", "any", timed(say, engine.change_foreign, time.thread_time))


def over_the_wire(out: Output, ready: Pool) -> None:
    """A real broker on another core, called by a Python client."""
    view = ready.inventory.GetView(inventory_pb2.GetViewRequest(), timeout=CALL_LIMIT_S)
    center = view.regions[0].centers[0].center
    for name, spec in refused_requests(center).items():
        request = allocation_pb2.PreviewAllocationRequest(spec=spec_message(spec))

        def refuse(request: allocation_pb2.PreviewAllocationRequest = request) -> None:
            answer = ready.allocations.PreviewAllocation(request, timeout=CALL_LIMIT_S)
            if not answer.HasField("refusal"):
                raise BenchError("a preview was not refused")

        emit(out, "refusal", name, timed(refuse, lambda: None, time.perf_counter))
    page = ready.allocations.ListAllocations(
        allocation_pb2.ListAllocationsRequest(page_size=1_000), timeout=CALL_LIMIT_S
    )
    ids = [allocation.id for allocation in page.allocations]
    rng = random.Random(1)

    def say() -> None:
        request = allocation_pb2.ExplainAllocationRequest(id=rng.choice(ids))
        ready.allocations.ExplainAllocation(request, timeout=CALL_LIMIT_S)

    emit(out, "allocation", "any", timed(say, lambda: None, time.perf_counter))


def timed(
    step: Callable[[], None], between: Callable[[], None], clock: Callable[[], float]
) -> list[float]:
    """Milliseconds of each of the rounds, after two that do not count."""
    took = []
    for number in range(ROUNDS + 2):
        between()
        start = clock()
        step()
        if number > 1:
            took.append((clock() - start) * 1e3)
    return sorted(took)


def emit(out: Output, metric: str, what: str, took_ms: Sequence[float]) -> None:
    """One row: the 95th percentile, which has to reach the target."""
    p95 = took_ms[len(took_ms) * 95 // 100]
    params = {
        "what": what,
        "nodes": NODES,
        "calls": len(took_ms),
        "p50_ms": statistics.median(took_ms),
        "max_ms": took_ms[-1],
        "target": f"<= {TARGET_MS:g} ms",
    }
    out.emit(Row("explain", f"{metric} p95", p95, "ms", TARGET_MS, p95 / TARGET_MS, params))
