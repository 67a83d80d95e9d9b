"""`engine`: what a decision costs in memory, by size of the pool and number of shapes."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING

import psutil

from bench.engine_pool import Engine, some_shapes
from bench.output import Output, Row, remark
from bench.process import BenchError
from computepool_broker.model.request import PartSpec, Shape, Spec
from computepool_broker.placement.planner import MAX_HELD, MAX_SHAPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZES = (1_000, 10_000, 100_000)
SHAPES = (8, 1_000)
DECISIONS = 6_000
LIVE = 200
COLLECT = (50_000, 50, 100)
"""As the broker sets it: records live long and make no cycles."""
GANG_PARTS, GANG_ROUNDS = 1_000, 7
GANG_TARGET_MS = 20.0
GROWTH_TARGET = 2.0


def run(out: Output, folder: Path) -> None:
    """All combinations, then the growth from the smallest pool to the largest, then a gang."""
    del folder  # nothing here touches the disk
    gc.set_threshold(*COLLECT)
    means: dict[tuple[int, int], float] = {}
    for nodes in SIZES:
        start = time.monotonic()
        engine = Engine(nodes)
        remark(f"{nodes} nodes set up in {time.monotonic() - start:.1f} s")
        for shapes in SHAPES:
            means[nodes, shapes] = decisions(out, engine, nodes, shapes)
        if nodes == 10_000:
            gang(out, engine, nodes)
    for shapes in SHAPES:
        small, large = means[SIZES[0], shapes], means[SIZES[-1], shapes]
        params = {"shapes": shapes, "target": f"ratio <= {GROWTH_TARGET:g}"}
        row = Row("engine", "growth_100k_vs_1k", large, "us", small, large / small, params)
        out.emit(row)


def decisions(out: Output, engine: Engine, nodes: int, shapes: int) -> float:
    """Time decisions of known shapes while the pool changes; return the mean in microseconds.

    Per decision one node's foreign load changes and one older allocation ends: not timed
    themselves, but every cache has to catch up with them inside the time taken. All
    in processor time of this one thread: nothing here waits.
    """
    specs = some_shapes(shapes)
    order = [specs[engine.rng.randrange(shapes)] for _ in range(DECISIONS)]
    for spec in (*specs, *order[: LIVE + len(specs)]):
        one(engine, spec)
    gc.collect()
    took, refused, changes_s = [], 0, 0.0
    for spec in order:
        before = time.thread_time()
        placed = engine.decide(spec)
        decided = time.thread_time()
        took.append(decided - before)
        refused += not placed
        change(engine)
        changes_s += time.thread_time() - decided
    if refused > DECISIONS // 100:
        raise BenchError(f"{refused} of {DECISIONS} decisions found no room: not what is measured")
    took.sort()
    mean_us = statistics.fmean(took) * 1e6
    params = {
        "nodes": nodes,
        "shapes": shapes,
        "decisions": DECISIONS,
        "foreign_changes_per_decision": 1,
        "releases_per_decision": 1,
        "refused": refused,
        "p50_us": took[len(took) // 2] * 1e6,
        "p99_us": took[len(took) * 99 // 100] * 1e6,
        "change_us": changes_s / DECISIONS * 1e6,
        "most_shapes_cached": MAX_SHAPES,
        "most_rows_cached": MAX_HELD,
        "process_mb": psutil.Process().memory_info().rss / 1e6,
    }
    out.emit(Row("engine", "decision", mean_us, "us", params=params))
    out.emit(Row("engine", "rate", 1e6 / mean_us, "decisions/s", params=params))
    return mean_us


def one(engine: Engine, spec: Spec) -> None:
    """A decision and the changes that go with it, for the warm-up."""
    engine.decide(spec)
    change(engine)


def change(engine: Engine) -> None:
    """What happens to the pool per decision."""
    engine.change_foreign()
    if len(engine.live) > LIVE:
        engine.end_oldest()


def gang(out: Output, engine: Engine, nodes: int) -> None:
    """A gang of 1,000 parts with one device each, planned and committed."""
    part = PartSpec(cpu_milli=4_000, memory_mib=32_768, devices=1)
    spec = Spec(Shape(part), GANG_PARTS)
    took: list[float] = []
    for _ in range(GANG_ROUNDS):
        engine.change_foreign()
        before = time.thread_time()
        placed = engine.decide(spec)
        took.append((time.thread_time() - before) * 1e3)
        if not placed:
            raise BenchError("no room for the gang")
        while engine.live:
            engine.end_oldest()
    emit_gang(out, took, nodes)


def emit_gang(out: Output, took_ms: Sequence[float], nodes: int) -> None:
    """The row of the gang: median of the rounds."""
    params = {
        "nodes": nodes,
        "parts": GANG_PARTS,
        "rounds_ms": list(took_ms),
        "target": f"<= {GANG_TARGET_MS:g} ms",
    }
    out.emit(Row("engine", "gang", statistics.median(took_ms), "ms", params=params))
