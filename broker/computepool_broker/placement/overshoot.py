"""How many devices of each peak reach a power with least overshoot. Pure integer arithmetic.

A bounded knapsack: of each peak there are so many devices; which counts give the least sum that is
not below the target, and of those the fewest devices? Sums that can be reached are the bits of one
large integer, in units of the peaks' greatest common divisor; adding up to c devices of a peak is
a shift and an "or" for each power of two in c. The fewest devices are then searched from the
largest peak down, only where the bits say that the rest can still be reached.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_BITS = 1 << 27
"""Bits written at the most, about 5 ms. A larger target takes its bulk from the largest peaks
first, and only the rest, at least some dozens of devices, is chosen among all sums."""
MOST_STEPS = 4_000
"""Of the search for the fewest devices; what it has found by then is taken. The sum is the
least in any case."""


def least_overshoot(peaks: Sequence[int], caps: Sequence[int], target: int) -> list[int] | None:
    """Devices of each peak, or None when all together do not reach the target.

    Args:
        peaks: All different and above 0, in any unit.
        caps: Devices there are of each.
        target: The least sum, in the same unit, above 0.
    """
    if sum(p * c for p, c in zip(peaks, caps, strict=True)) < target:
        return None
    order = sorted((i for i in range(len(peaks)) if caps[i]), key=lambda i: -peaks[i])
    unit = math.gcd(*(peaks[i] for i in order))
    sizes = [peaks[i] // unit for i in order]
    goal = -(-target // unit)
    # More of one size than reach the goal by themselves are never needed.
    left = [min(caps[i], -(-goal // size)) for i, size in zip(order, sizes, strict=True)]
    bulk = _bulk(sizes, left, goal)
    goal -= sum(n * size for n, size in zip(bulk, sizes, strict=True))
    left = [cap - n for cap, n in zip(left, bulk, strict=True)]
    rest = _exact(sizes, left, goal) if goal > 0 else [0] * len(sizes)
    out = [0] * len(peaks)
    for at, i in enumerate(order):
        out[i] = bulk[at] + rest[at]
    return out


def _bulk(sizes: Sequence[int], caps: Sequence[int], goal: int) -> list[int]:
    """Devices taken beforehand so that what is left of the goal is small enough."""
    shifts = sum(cap.bit_length() + 1 for cap in caps)
    over = goal - MOST_BITS // shifts
    out = []
    for size, cap in zip(sizes, caps, strict=True):
        take = min(cap, -(-over // size)) if over > 0 else 0
        take = min(take, goal // size)
        out.append(take)
        over -= take * size
        goal -= take * size
    return out


def _exact(sizes: Sequence[int], caps: Sequence[int], goal: int) -> list[int]:
    """Counts with the least sum from the goal on, of those the fewest; sizes fall."""
    mask = (1 << (goal + sizes[0])) - 1
    reach = 1
    layers = [reach]
    for size, cap in zip(reversed(sizes), reversed(caps), strict=True):
        reach = _with_up_to(reach, size, cap, mask)
        layers.append(reach)
    layers.reverse()  # layers[i]: sums of sizes[i:]
    above = reach >> goal
    total = goal + (above & -above).bit_length() - 1
    length = (total + 8) // 8
    low = (1 << (8 * length)) - 1
    return _Fewest(sizes, caps, [(x & low).to_bytes(length, "little") for x in layers]).of(total)


def _with_up_to(reach: int, size: int, cap: int, mask: int) -> int:
    """Sums with up to `cap` more of a size."""
    step = 1
    while cap > 0:
        step = min(step, cap)
        reach |= (reach << (step * size)) & mask
        cap -= step
        step *= 2
    return reach


class _Fewest:
    """The search for the fewest devices that have exactly a sum."""

    def __init__(self, sizes: Sequence[int], caps: Sequence[int], layers: list[bytes]) -> None:
        self._sizes = sizes
        self._caps = caps
        self._layers = layers
        self._best = sum(caps) + 1
        self._found = [0] * len(sizes)
        self._steps = 0

    def of(self, total: int) -> list[int]:
        """Counts by size; the sum must be one that can be reached."""
        self._descend(0, total, [])
        return self._found

    def _descend(self, at: int, left: int, counts: list[int]) -> None:
        used = sum(counts)
        if left == 0:
            if used < self._best:
                self._best = used
                self._found = counts + [0] * (len(self._sizes) - len(counts))
            return
        size, layer = self._sizes[at], self._layers[at + 1]
        next_size = self._sizes[at + 1] if at + 1 < len(self._sizes) else 1
        for count in range(min(self._caps[at], left // size), -1, -1):
            rest = left - count * size
            # Fewer here means more below: from here on it only gets worse.
            if used + count - (-rest // next_size) >= self._best:
                return
            self._steps += 1
            if self._steps > MOST_STEPS and self._best <= sum(self._caps):
                return
            if layer[rest >> 3] >> (rest & 7) & 1:
                self._descend(at + 1, rest, [*counts, count])
