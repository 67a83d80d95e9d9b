"""The server backend: this very machine is the one node.

May import model, admission and its neighbours. Reads the machine through psutil and, where
there are NVIDIA devices, NVML; makes grants real as environment files (see grants).
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from computepool_agents.admission import device_milli
from computepool_agents.backends.base import BackendError
from computepool_agents.backends.foreign import (
    CpuReading,
    foreign,
    held_amounts,
    smoothed,
    used_cpu_milli,
    working,
)
from computepool_agents.model import Amounts, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from computepool.v1 import types_pb2 as types
    from computepool_agents.admission import Refusal
    from computepool_agents.backends.grants import Grants
    from computepool_agents.backends.nvml import Nvml
    from computepool_agents.model import Held

_MIB = 1 << 20
_LEAST_SAMPLE_S = 0.5  # a shorter one says more about us than about the machine


@dataclass(frozen=True, slots=True)
class Reserve:
    """What to hold back for the system; None takes the default.

    Attributes:
        cpu_milli: Default: 500 or 5 %, whichever is more.
        memory_mib: Default: 512 or 5 %, whichever is more.
        disk_mib: Default: 1,024 or 5 %, whichever is more.
    """

    cpu_milli: int | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None

    def of(self, total: Amounts) -> Amounts:
        """Give the amounts held back of a total; never more than there is."""
        return Amounts(
            _reserved(self.cpu_milli, 500, total.cpu_milli),
            _reserved(self.memory_mib, 512, total.memory_mib),
            _reserved(self.disk_mib, 1024, total.disk_mib),
        )


def _reserved(wanted: int | None, least: int, total: int) -> int:
    return min(total, max(least, total // 20) if wanted is None else wanted)


class ServerBackend:
    """Measures the machine and hands its devices out."""

    name = "server"

    def __init__(
        self, node: str, disk: Path, reserve: Reserve, grants: Grants, nvml: Nvml | None
    ) -> None:
        self._node = node
        self._disk = disk
        self._reserve = reserve
        self._grants = grants
        self._nvml = nvml
        # One thread: a write whose caller gave up ends before the removal that follows it.
        self._files_thread = ThreadPoolExecutor(1, thread_name_prefix="grants")
        self._labels = {
            "os": platform.system().lower(),
            "arch": platform.machine(),
            "hostname": socket.gethostname(),
        }
        self._cpu = _cpu_reading()
        self._ours_before = 0
        # The load of the last minute is the best guess until there are two readings.
        self._foreign_cpu: float | None = None

    async def nodes(self, held: Mapping[str, Held]) -> tuple[Node, ...]:
        """Measure this machine, in a thread: disks and drivers can be slow to answer."""
        ours = working(held.values())
        try:
            return (await asyncio.to_thread(self._measure, ours),)
        except (OSError, psutil.Error) as error:
            raise BackendError(f"cannot measure this machine: {error}") from error

    def veto(self, _record: types.LeaseRecord) -> Refusal | None:
        """Say no to nothing: a bare machine has no rules of its own."""
        return None

    async def adopt(self, held: Iterable[Held]) -> None:
        """Write the files of started leases anew and remove all others."""
        await self._files(lambda: self._grants.adopt(held))

    async def start(self, record: types.LeaseRecord) -> None:
        """Write the lease's file."""
        await self._files(lambda: self._grants.write(record))

    async def stop(self, record: types.LeaseRecord) -> None:
        """Remove the lease's file."""
        await self._files(lambda: self._grants.remove(record))

    async def _files(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._files_thread, work)
        except OSError as error:
            raise BackendError(f"cannot keep the grant files: {error}") from error

    def _measure(self, ours: list[Held]) -> Node:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._disk))
        total = Amounts((psutil.cpu_count() or 1) * 1000, memory.total // _MIB, disk.total // _MIB)
        reserved = self._reserve.of(total)
        amounts = held_amounts(ours)
        rest_cpu = self._foreign_cpu_milli(amounts.cpu_milli, reserved.cpu_milli)
        used = Amounts(
            rest_cpu + amounts.cpu_milli + reserved.cpu_milli,
            (memory.total - memory.available) // _MIB,
            # Blocks that only root may use are used up as well.
            (disk.total - disk.free) // _MIB,
        )
        return Node(
            name=self._node,
            total=total,
            reserved=reserved,
            foreign=foreign(used, amounts, reserved, total),
            devices=self._nvml.devices(device_milli(ours)) if self._nvml else (),
            labels=self._labels,
        )

    def _foreign_cpu_milli(self, ours: int, reserved: int) -> int:
        """Smooth what others use, not what is used: our own work leaves no trace when it ends."""
        if self._foreign_cpu is None:
            self._foreign_cpu = max(0.0, os.getloadavg()[0] * 1000 - ours - reserved)
        now = _cpu_reading()
        elapsed_s = now.at_s - self._cpu.at_s
        if elapsed_s >= _LEAST_SAMPLE_S:
            most_ours = max(ours, self._ours_before)
            sample = max(0.0, used_cpu_milli(self._cpu, now) - most_ours - reserved)
            self._foreign_cpu = smoothed(self._foreign_cpu, sample, elapsed_s)
            self._cpu, self._ours_before = now, ours
        return round(self._foreign_cpu)


def _cpu_reading() -> CpuReading:
    times = psutil.cpu_times()
    # Linux counts a guest's time in user and nice as well.
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return CpuReading(time.monotonic(), sum(times) - idle - guests)
