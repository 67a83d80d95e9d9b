"""A pool of 100,000 nodes with 100,000 live leases, whose broker ends and begins again.

The agents are one fleet that outlives the broker. All leases are granted through the API, admitted
and started.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.output import remark
from bench.pool import PATIENCE, Counters, Pool, read_answer
from bench.process import (
    LOAD_CORE,
    SERVER_CORE,
    BenchError,
    cpu_s,
    pinned,
    program,
    running,
    wait_for_file,
)
from computepool.v1 import allocation_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODES, AGENTS, LEASES = 100_000, 100, 100_000
TENANTS, BATCH = 20, 500
SHARES = ((1, 0), (1, 0), (2, 0), (0, 250))
"""Of a lease, by chance: whole devices, thousandths of one."""
WARM_UP = ("--warm-up-s", "60")
"""So many agents need longer to come back than those of the other benches."""
START_LIMIT_S, SETTLE_LIMIT_S, CALL_LIMIT_S = 120.0, 300.0, 60.0
LOOK_EVERY_S = 0.5


@dataclass(slots=True)
class Started:
    """One life of the broker.

    Attributes:
        process: It.
        began_s: Monotonic time at its start.
        pool: Calls on it, once `LargePool.serving` has said that it serves.
    """

    process: subprocess.Popen[str]
    began_s: float
    pool: Pool

    def since_s(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.began_s

    def cpu_s(self) -> float:
        """Processor seconds that it has used."""
        return cpu_s(self.process.pid)

    def kill(self) -> None:
        """End it without any order."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class LargePool:
    """A place for a broker, and its agents.

    Attributes:
        folder: For files.
        store: As the broker takes it.
        address: Where each broker of this pool listens.
        fleet: The agents.
        leases: Ids of the live allocations.
    """

    folder: Path
    store: str
    address: str
    fleet: subprocess.Popen[str]
    leases: list[str] = field(default_factory=list)

    @contextmanager
    def broker(self) -> Iterator[Started]:
        """A broker on the store, serving or not yet."""
        ready, log = self.folder / "broker.ready", self.folder / "broker.log"
        ready.unlink(missing_ok=True)
        command = [
            *(program("computepool-broker"), "--listen", self.address, "--store", self.store),
            *("--ready-file", str(ready), "--log-level", "warning", "--log-format", "json"),
            *(*PATIENCE, *WARM_UP),
        ]
        began_s = time.monotonic()
        with running(pinned(SERVER_CORE, command), log) as process:
            yield Started(process, began_s, Pool(self.address, process.pid, self.fleet))

    def serving(self, started: Started) -> Pool:
        """Wait until the broker serves.

        Raises:
            BenchError: It ended, or does not serve after START_LIMIT_S.
        """
        ready, log = self.folder / "broker.ready", self.folder / "broker.log"
        wait_for_file(ready, started.process, log, START_LIMIT_S)
        return started.pool

    def fill(self, pool: Pool) -> None:
        """Grant all leases to an empty pool, and wait until they are started."""
        rng, start = random.Random(4), time.monotonic()
        while len(self.leases) < LEASES:
            requests = [request(rng, len(self.leases) + n) for n in range(BATCH)]
            answer = pool.allocations.BatchCreateAllocations(
                allocation_pb2.BatchCreateAllocationsRequest(
                    requests=requests, wait_for=allocation_pb2.WAIT_FOR_RESERVED
                ),
                timeout=CALL_LIMIT_S,
            )
            self.leases += [result.created.allocation.id for result in answer.results]
        remark(f"  {LEASES} leases granted in {time.monotonic() - start:.0f} s")
        settled(pool)
        remark(f"  and started after {time.monotonic() - start:.0f} s")


@contextmanager
def large_pool(folder: Path, store: str) -> Iterator[LargePool]:
    """Agents that wait for a broker on the (empty) store; `fill` belongs into its first life."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        *(sys.executable, "-m", "bench.fleet", "--broker", address, "--rejoin"),
        *("--nodes", str(NODES), "--agents", str(AGENTS)),
    ]
    with running(
        pinned(LOAD_CORE, command),
        folder / "fleet.log",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as fleet:
        large = LargePool(folder, store, address, fleet)
        yield large


def first_reports(large: LargePool, pool: Pool) -> None:
    """Wait until all agents have reported for the first time."""
    start = time.monotonic()
    read_answer(large.fleet)
    now = pool.counters()
    if now.schedulable_nodes != NODES:
        raise BenchError(f"not all nodes are schedulable: {now}")
    remark(f"  {NODES} nodes reported after {time.monotonic() - start:.0f} s")


def settled(pool: Pool) -> Counters:
    """Wait until all nodes take grants and agents have shown every lease.

    Raises:
        BenchError: They have not after SETTLE_LIMIT_S, or leases were lost.
    """
    deadline = time.monotonic() + SETTLE_LIMIT_S
    while True:
        now = pool.counters()
        if not now.in_flight and now.schedulable_nodes == NODES:
            break
        if time.monotonic() > deadline:
            raise BenchError(f"not settled: {now}")
        time.sleep(LOOK_EVERY_S)
    if now.allocations != LEASES:
        raise BenchError(f"{LEASES} leases should live: {now}")
    return now


def request(rng: random.Random, number: int) -> allocation_pb2.CreateAllocationRequest:
    """Lease number `number` of the pool: a job of one part, as its tenant's SDK asks for it."""
    devices, milli = rng.choice(SHARES)
    part = types_pb2.PartSpec(
        resources=types_pb2.Resources(
            cpu_milli=rng.choice((2_000, 4_000, 8_000)), memory_mib=rng.choice((8_192, 32_768))
        ),
        devices=devices,
        device_milli=milli,
    )
    return allocation_pb2.CreateAllocationRequest(
        tenant=f"tenant-{number % TENANTS:02d}",
        request_id=f"{rng.getrandbits(128):032x}",
        spec=types_pb2.AllocationSpec(part=part, ttl_s=86_400),
    )
