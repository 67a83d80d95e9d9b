"""`restart`: a broker that was killed, with 100,000 nodes and 100,000 leases in its store."""

from __future__ import annotations

import random
import shutil
import statistics
import time
from typing import TYPE_CHECKING, Any

import grpc

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
from bench.pool import small_request
from bench.process import BenchError
from computepool.v1 import allocation_pb2 as wire

if TYPE_CHECKING:
    from pathlib import Path

    from bench.pool import Pool

ROUNDS = 5
TARGET_S = 5.0
GRANT_LIMIT_S, ASK_EVERY_S = 60.0, 0.02

Taken = dict[str, tuple[float, float]]
"""By figure: seconds since the process started, and its processor seconds until then."""


def run(out: Output, folder: Path) -> None:
    """Kill it, start it, ask; several times."""
    kind = need_disk(folder)
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    rng = random.Random(6)
    with large_pool(folder, f"embedded:{store}") as large:
        with large.broker() as started:
            pool = large.serving(started)
            first_reports(large, pool)
            large.fill(pool)
            started.kill()
        rounds = [one_round(large, rng.choice(large.leases)) for _ in range(ROUNDS)]
    params = {
        "nodes": NODES,
        "devices": NODES * DEVICES,
        "agents": AGENTS,
        "leases": LEASES,
        "store_bytes": sum(file.stat().st_size for file in store.iterdir()),
        "file_system": kind,
    }
    for metric in rounds[0]:
        emit(out, metric, [taken[metric] for taken in rounds], params)


def one_round(large: LargePool, lease: str) -> Taken:
    """A start, to the first answer about a lease, the first grant, and the last agent's report."""
    with large.broker() as started:
        pool = large.serving(started)
        taken = {"first_get": got(pool, started, lease)}
        taken["first_grant"], extra = granted(pool, started)
        pool.allocations.ReleaseAllocation(
            wire.ReleaseAllocationRequest(id=extra), timeout=CALL_LIMIT_S
        )
        settled(pool)
        taken["all_agents_back"] = (started.since_s(), started.cpu_s())
        started.kill()
    remark("  " + ", ".join(f"{name} {wall_s:.2f} s" for name, (wall_s, _) in taken.items()))
    return taken


def got(pool: Pool, started: Started, lease: str) -> tuple[float, float]:
    """Ask for a lease.

    Raises:
        BenchError: It is not as it was.
    """
    answer = pool.allocations.GetAllocation(
        wire.GetAllocationRequest(id=lease), timeout=CALL_LIMIT_S
    )
    taken = (started.since_s(), started.cpu_s())
    state = answer.allocation.state
    if answer.allocation.id != lease or state != wire.ALLOCATION_STATE_ACTIVE:
        raise BenchError(f"{lease} is not active after the restart, but {state}")
    return taken


def granted(pool: Pool, started: Started) -> tuple[tuple[float, float], str]:
    """Ask for a part of a device until it is granted; gives its id too.

    Raises:
        BenchError: It is not after GRANT_LIMIT_S.
    """
    request = small_request()
    request.request_id = f"restart-{started.process.pid}"
    while True:
        try:
            answer = pool.allocations.CreateAllocation(request, timeout=CALL_LIMIT_S)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            if started.since_s() > GRANT_LIMIT_S:
                raise BenchError(f"no grant after {GRANT_LIMIT_S:g} s") from error
            time.sleep(ASK_EVERY_S)
        else:
            return (started.since_s(), started.cpu_s()), answer.allocation.id


def emit(
    out: Output, metric: str, taken: list[tuple[float, float]], params: dict[str, Any]
) -> None:
    """One row: the median of the wall times; only the first answer has a target."""
    wall_s = statistics.median(wall for wall, _ in taken)
    said = params | {
        "rounds_s": [wall for wall, _ in taken],
        "rounds_cpu_s": [cpu for _, cpu in taken],
        "cpu_s": statistics.median(cpu for _, cpu in taken),
    }
    if metric == "first_get":
        said["target"] = f"<= {TARGET_S:g}"
        out.emit(Row("restart", metric, wall_s, "s", TARGET_S, wall_s / TARGET_S, said))
    else:
        out.emit(Row("restart", metric, wall_s, "s", None, None, said))
