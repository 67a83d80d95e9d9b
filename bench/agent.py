"""`agent`: what a server agent costs the machine that it stands on."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from bench.disk import need_disk
from bench.output import Output, Row
from bench.pool import Pool, broker
from bench.process import LOAD_CORE, cpu_s, pinned, program, running, wait_for_file
from computepool.v1 import allocation_pb2, types_pb2

INTERVAL_S = 10
WARM_UP_S = 5.0
WATCH_S = 40.0
MOST_MB, MOST_CPU_PERCENT = 60.0, 0.5


def run(out: Output, folder: Path) -> None:
    """Watch a real agent with one lease for 40 s at a 10 s interval."""
    need_disk(folder)
    ready, log = folder / "agent.ready", folder / "agent.log"
    ready.unlink(missing_ok=True)
    with broker(folder, "--report-interval-s", str(INTERVAL_S)) as (address, broker_pid):
        command = [
            *(program("computepool-agent"), "--backend", "server", "--broker", address),
            *("--state-dir", str(folder / f"agent-{broker_pid}"), "--name", "bench-server"),
            *("--ready-file", str(ready), "--log-level", "warning", "--log-format", "json"),
        ]
        with running(pinned(LOAD_CORE, command), log) as process:
            wait_for_file(ready, process, log, 30.0)
            hold_a_lease(Pool(address, broker_pid))
            time.sleep(WARM_UP_S)
            watch(out, psutil.Process(process.pid))


def hold_a_lease(pool: Pool) -> None:
    """Give the agent something to hold, admitted: memory, which a busy machine has too."""
    part = types_pb2.PartSpec(resources=types_pb2.Resources(memory_mib=64))
    pool.create(
        allocation_pb2.CreateAllocationRequest(
            tenant="bench",
            spec=types_pb2.AllocationSpec(part=part),
            wait_for=allocation_pb2.WAIT_FOR_ACTIVE,
        )
    )


def watch(out: Output, process: psutil.Process) -> None:
    """Emit resident memory and processor share over `WATCH_S`."""
    start, ran, ticks = time.monotonic(), run_s(process.pid), cpu_s(process.pid)
    most = 0
    while (seconds := time.monotonic() - start) < WATCH_S:
        most = max(most, process.memory_info().rss)
        time.sleep(0.5)
    share = (run_s(process.pid) - ran) / seconds * 100
    params = {
        "interval_s": INTERVAL_S,
        "seconds": seconds,
        "leases": 1,
        "threads": process.num_threads(),
        "cpu_percent_by_clock_ticks": (cpu_s(process.pid) - ticks) / seconds * 100,
    }
    out.emit(
        Row("agent", "rss", most / 1e6, "MB", params={**params, "target": f"<= {MOST_MB:g} MB"})
    )
    target = {"target": f"<= {MOST_CPU_PERCENT:g} %"}
    out.emit(Row("agent", "cpu", share, "% of a core", params={**params, **target}))


def run_s(pid: int) -> float:
    """Time on a processor of all threads of a process, in seconds.

    From the scheduler's own nanoseconds: an agent runs for a few milliseconds
    at a time, which clock ticks of 10 ms see or miss by chance.
    """
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
