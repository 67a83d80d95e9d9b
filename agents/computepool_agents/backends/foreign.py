"""Use by others, worked out from what a machine says is used: attribution and smoothing.

May import model. Pure.

A bare machine cannot say whose work uses its processors and memory, so foreign use is what is
used beyond what our leases may use and beyond what is reserved, never below 0. Amounts are
rounded up to steps, so that noise does not make every report differ from the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from computepool_agents.model import RELEASING, STARTED, STOPPED, Amounts, Held, total_of

if TYPE_CHECKING:
    from collections.abc import Iterable

SMOOTHING_S = 60.0
STEPS = Amounts(cpu_milli=50, memory_mib=64, disk_mib=1024)
MAY_WORK = frozenset({STARTED, RELEASING, STOPPED})


@dataclass(frozen=True, slots=True)
class CpuReading:
    """A reading of the machine's processor counters.

    Attributes:
        at_s: When, in seconds on any steady clock.
        busy_s: Seconds of all cores spent on work since the machine's start.
    """

    at_s: float
    busy_s: float


def used_cpu_milli(before: CpuReading, now: CpuReading) -> float:
    """Give the mean use between two readings, in thousandths of a core."""
    elapsed_s = now.at_s - before.at_s
    if elapsed_s <= 0:
        return 0.0
    return max(0.0, now.busy_s - before.busy_s) / elapsed_s * 1000.0


def smoothed(previous: float, sample: float, elapsed_s: float) -> float:
    """Give the exponentially weighted mean; a sample's weight falls by 1/e in a minute."""
    weight = 1.0 - math.exp(-max(0.0, elapsed_s) / SMOOTHING_S)
    return previous + weight * (sample - previous)


def working(held: Iterable[Held]) -> list[Held]:
    """Pick the leases whose work may be running; one that is only admitted uses nothing yet."""
    return [lease for lease in held if lease.state in MAY_WORK]


def held_amounts(held: Iterable[Held]) -> Amounts:
    """Sum what leases may use."""
    return total_of(Amounts.of(lease.record.resources) for lease in held)


def foreign(used: Amounts, ours: Amounts, reserved: Amounts, total: Amounts) -> Amounts:
    """Give use by others: 0 at least, and at most what is not reserved; rounded up to steps."""
    rest = used.minus(ours).minus(reserved).at_least_zero()
    most = total.minus(reserved).at_least_zero()
    return Amounts(
        min(_round_up(rest.cpu_milli, STEPS.cpu_milli), most.cpu_milli),
        min(_round_up(rest.memory_mib, STEPS.memory_mib), most.memory_mib),
        min(_round_up(rest.disk_mib, STEPS.disk_mib), most.disk_mib),
    )


def _round_up(amount: int, step: int) -> int:
    return -(-amount // step) * step
