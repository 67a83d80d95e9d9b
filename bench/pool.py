"""A real broker on a disk, with a fleet of agents, filled to the half.

Imports the protos and the bench's own parts; the broker is another process.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from bench.fleet_nodes import DEVICES
from bench.output import remark
from bench.process import (
    LOAD_CORE,
    SERVER_CORE,
    BenchError,
    pinned,
    program,
    running,
    wait_for_file,
)
from computepool.v1 import allocation_pb2, inventory_pb2, types_pb2
from computepool.v1.allocation_pb2_grpc import AllocationServiceStub
from computepool.v1.inventory_pb2_grpc import InventoryServiceStub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CREATE = "/computepool.v1.AllocationService/CreateAllocation"
CALL_LIMIT_S = 60.0
SETTLE_LIMIT_S = 120.0
# Agents that stay silent while a quiet pool is measured are neither given up
# nor are their parts placed anew.
PATIENCE = (
    *("--report-interval-s", "10", "--disconnected-after-s", "600", "--lost-after-s", "1200"),
    *("--admit-timeout-s", "600", "--warm-up-s", "2"),
)


@dataclass(frozen=True, slots=True)
class Counters:
    """What the broker says about itself.

    Attributes:
        grants: Since its start.
        refusals: Since its start.
        allocations: Live ones in the ledger.
        revision: Of the store.
        in_flight: Thousandths of devices granted that no report has shown yet.
        used: Part of all devices that is foreign or granted, 0 to 1.
        schedulable_nodes: Nodes that take new grants.
    """

    grants: int
    refusals: int
    allocations: int
    revision: int
    in_flight: int
    used: float
    schedulable_nodes: int


class Pool:
    """Calls on a running broker, and the fleet that reports to it."""

    def __init__(
        self, address: str, broker_pid: int, fleet: subprocess.Popen[str] | None = None
    ) -> None:
        self.address = address
        self.broker_pid = broker_pid
        self._fleet = fleet
        channel = grpc.insecure_channel(address)
        self.allocations = AllocationServiceStub(channel)
        self.inventory = InventoryServiceStub(channel)

    def counters(self) -> Counters:
        """Ask the broker."""
        view = self.inventory.GetView(inventory_pb2.GetViewRequest(), timeout=CALL_LIMIT_S)
        centers = [center for region in view.regions for center in region.centers]
        devices = [model.devices for center in centers for model in center.models]
        total = sum(amounts.total for amounts in devices) or 1
        return Counters(
            grants=view.grants_total,
            refusals=view.refusals_total,
            allocations=view.allocations,
            revision=view.mark.revision,
            in_flight=sum(amounts.in_flight for amounts in devices),
            used=sum(amounts.foreign + amounts.granted for amounts in devices) / total,
            schedulable_nodes=sum(center.nodes_schedulable for center in centers),
        )

    def create(self, request: allocation_pb2.CreateAllocationRequest) -> bytes:
        """Create one allocation; return the response as it went over the wire."""
        response = self.allocations.CreateAllocation(request, timeout=CALL_LIMIT_S)
        return response.SerializeToString()

    def fleet(self, mode: str) -> dict[str, Any]:
        """Tell the agents what to do from now on; return their counters.

        Raises:
            BenchError: The fleet has ended.
        """
        if self._fleet is None or self._fleet.stdin is None:
            raise BenchError("this pool has no fleet")
        self._fleet.stdin.write(json.dumps({"mode": mode}) + "\n")
        return read_answer(self._fleet)

    def settle(self) -> Counters:
        """Wait until agents have shown every grant.

        Raises:
            BenchError: They have not after `SETTLE_LIMIT_S`.
        """
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while (now := self.counters()).in_flight:
            if time.monotonic() > deadline:
                raise BenchError(f"agents have not shown all grants: {now}")
            time.sleep(0.2)
        return now


def read_answer(fleet: subprocess.Popen[str]) -> dict[str, Any]:
    """The fleet's next line.

    Raises:
        BenchError: There is none: it has ended.
    """
    line = fleet.stdout.readline() if fleet.stdout else ""
    if not line:
        raise BenchError("the fleet of agents ended; see fleet.log in the state folder")
    answer: dict[str, Any] = json.loads(line)
    return answer


@contextmanager
def broker(folder: Path, *flags: str) -> Iterator[tuple[str, int]]:
    """A broker on an empty embedded store below `folder`; yields its address and pid."""
    store, ready, log = folder / "store", folder / "broker.ready", folder / "broker.log"
    shutil.rmtree(store, ignore_errors=True)
    ready.unlink(missing_ok=True)
    command = [
        program("computepool-broker"),
        *("--listen", "127.0.0.1:0", "--store", f"embedded:{store}"),
        *("--ready-file", str(ready), "--log-level", "warning", "--log-format", "json"),
        *flags,
    ]
    with running(pinned(SERVER_CORE, command), log) as process:
        yield wait_for_file(ready, process, log, 30.0), process.pid


@contextmanager
def pool(folder: Path, nodes: int, agents: int) -> Iterator[Pool]:
    """A broker with `nodes` nodes behind `agents` agents, half of its devices in use."""
    with broker(folder, *PATIENCE) as (address, pid):
        command = [
            *(sys.executable, "-m", "bench.fleet", "--broker", address),
            *("--nodes", str(nodes), "--agents", str(agents)),
        ]
        with running(
            pinned(LOAD_CORE, command),
            folder / "fleet.log",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as fleet:
            read_answer(fleet)
            ready = Pool(address, pid, fleet)
            fill(ready, nodes)
            yield ready


def fill(pool: Pool, nodes: int) -> None:
    """Grant until half of the devices are foreign or granted, then let agents admit all.

    A quarter is foreign from the start; the rest goes out in gangs of one to
    eight parts with one to eight devices each, by a fixed seed.
    """
    rng, start = random.Random(2), time.monotonic()
    left = nodes * DEVICES // 4
    while left > 0:
        devices = min(rng.choice((1, 1, 2, 2, 4, 8)), left)
        count = max(1, min(rng.randint(1, 8), left // devices))
        pool.create(fill_request(devices, count))
        left -= devices * count
    now = pool.settle()
    remark(
        f"filled in {time.monotonic() - start:.1f} s: {now.allocations} allocations, "
        f"{now.used:.0%} of the devices in use, {now.schedulable_nodes} nodes schedulable"
    )
    if not 0.45 < now.used < 0.55 or now.schedulable_nodes < nodes * 0.99:
        raise BenchError(f"the pool is not half full with all nodes schedulable: {now}")


def fill_request(devices: int, count: int) -> allocation_pb2.CreateAllocationRequest:
    """A gang of `count` parts with whole devices of any model."""
    resources = types_pb2.Resources(cpu_milli=8_000 * devices, memory_mib=65_536 * devices)
    part = types_pb2.PartSpec(resources=resources, devices=devices)
    return allocation_pb2.CreateAllocationRequest(
        tenant="fill",
        spec=types_pb2.AllocationSpec(part=part, count=count, ttl_s=86_400),
        wait_for=allocation_pb2.WAIT_FOR_RESERVED,
    )


def small_request(device_milli: int = 200) -> allocation_pb2.CreateAllocationRequest:
    """What the allocate benches ask for: a fifth of a device of one of two models."""
    part = types_pb2.PartSpec(
        resources=types_pb2.Resources(cpu_milli=1_000, memory_mib=8_192),
        device_milli=device_milli,
        models=["H100-SXM", "A100-SXM"],
    )
    return allocation_pb2.CreateAllocationRequest(
        tenant="bench",
        spec=types_pb2.AllocationSpec(part=part),
        wait_for=allocation_pb2.WAIT_FOR_RESERVED,
    )
