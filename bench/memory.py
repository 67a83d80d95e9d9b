"""`memory` and `memory-redis`: what a broker with 100,000 nodes and 100,000 leases takes."""

from __future__ import annotations

import random
import re
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.bulk import mixed_requests
from bench.disk import need_disk
from bench.fleet_nodes import DEVICES
from bench.large_pool import (
    AGENTS,
    CALL_LIMIT_S,
    LEASES,
    NODES,
    LargePool,
    Started,
    first_reports,
    large_pool,
    settled,
)
from bench.output import Output, Row, remark
from bench.process import BenchError
from bench.redis_server import redis_server
from computepool.v1 import allocation_pb2 as wire

if TYPE_CHECKING:
    from bench.pool import Pool

TARGET_MB = 700.0
MB = 1_000_000
SERVING_S, SAMPLES = 30.0, 10
RENEWED_AT_ONCE = 10_000
JOBS = 5_000


def run(out: Output, folder: Path) -> None:
    """Over an embedded store."""
    kind = need_disk(folder)
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    measure(out, folder, f"embedded:{store}", {"store": "embedded", "file_system": kind})


def run_redis(out: Output, folder: Path) -> None:
    """Over a Redis of its own (AOF, everysec)."""
    kind = need_disk(folder)
    with redis_server(folder / "redis") as (url, version):
        measure(out, folder, url, {"store": "redis", "redis": version, "file_system": kind})


def measure(out: Output, folder: Path, store: str, params: dict[str, Any]) -> None:
    """The broker that took it all in; then one that loads it: before agents report, and after."""
    params |= {"nodes": NODES, "devices": NODES * DEVICES, "agents": AGENTS, "leases": LEASES}
    with large_pool(folder, store) as large:
        with large.broker() as started:
            pool = large.serving(started)
            first_reports(large, pool)
            large.fill(pool)
            emit(out, "took_in", serve(large, pool, started), params)
            pool.fleet("quiet")
        with large.broker() as started:
            pool = large.serving(started)
            one = wire.GetAllocationRequest(id=random.Random(5).choice(large.leases))
            pool.allocations.GetAllocation(one, timeout=CALL_LIMIT_S)
            emit(out, "loaded", [status(started)], params)
            pool.fleet("eager")
            settled(pool)
            emit(out, "serving", serve(large, pool, started), params)


def serve(large: LargePool, pool: Pool, started: Started) -> list[dict[str, float]]:
    """Let it work for a while, with another foreign load of 1,000 nodes each second; samples."""
    for at in range(0, LEASES, RENEWED_AT_ONCE):
        renewal = wire.BatchRenewAllocationsRequest(ids=large.leases[at : at + RENEWED_AT_ONCE])
        answer = pool.allocations.BatchRenewAllocations(renewal, timeout=CALL_LIMIT_S)
        if answer.renewed != RENEWED_AT_ONCE:
            raise BenchError(f"{answer.renewed} leases were renewed of {RENEWED_AT_ONCE}")
    come_and_go(pool)
    pool.fleet("live")
    samples = []
    for _ in range(SAMPLES):
        time.sleep(SERVING_S / SAMPLES)
        samples.append(status(started))
    pool.fleet("eager")
    settled(pool)
    return samples


def come_and_go(pool: Pool) -> None:
    """Short jobs of a hundred requests of eight shapes, released again."""
    batch = wire.BatchCreateAllocationsRequest(
        requests=mixed_requests(), wait_for=wire.WAIT_FOR_RESERVED
    )
    for _ in range(JOBS // len(batch.requests)):
        answer = pool.allocations.BatchCreateAllocations(batch, timeout=CALL_LIMIT_S)
        ids = [result.created.allocation.id for result in answer.results]
        pool.allocations.BatchReleaseAllocations(
            wire.BatchReleaseAllocationsRequest(ids=ids), timeout=CALL_LIMIT_S
        )


def status(started: Started) -> dict[str, float]:
    """Resident memory, that which is the process's own, and the most so far; in MB."""
    text = Path(f"/proc/{started.process.pid}/status").read_text(encoding="utf-8")
    kib = {
        name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
    return {
        name: kib[field] * 1024 / MB
        for name, field in (("rss", "VmRSS"), ("anonymous", "RssAnon"), ("peak", "VmHWM"))
    }


def emit(out: Output, metric: str, samples: list[dict[str, float]], params: dict[str, Any]) -> None:
    """One row: the median of resident memory."""
    rss_mb = statistics.median(sample["rss"] for sample in samples)
    remark(f"  {metric}: {rss_mb:.0f} MB")
    said = {**params, "samples_mb": samples, "target": f"<= {TARGET_MB:g}"}
    out.emit(Row("memory", metric, rss_mb, "MB", TARGET_MB, rss_mb / TARGET_MB, said))
