"""Nodes with free devices as columns, and pools that have been in use for long. Pure.

Simplified beside the broker's view: whole devices only, eight on a node, a node of one model; of
processor only that which the score weighs; no labels, no cordons, no foreign devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulation.choice import Policy, Request, best_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEVICES = 8
MODELS = 4
ALL_FREE = (1 << DEVICES) - 1
CPU_MILLI = 190_000
CPU_A_DEVICE_MILLI = 8_000
SIZES = (1, 2, 4, 8)
SIZE_SHARES = (0.5, 0.2, 0.2, 0.1)
"""Devices that requests ask for, and how often."""
MEAN_DEVICES = sum(size * share for size, share in zip(SIZES, SIZE_SHARES, strict=True))
ANY_MODEL = 0.25
"""Share of requests that take any model."""
NODES_A_CENTER = 333
"""300 centers of 100,000 nodes."""
ONE_CENTER = 0.05
"""Share of requests that name a center, say for their data, unless told otherwise."""
TURNOVERS = 2
"""How often all lives of a pool are replaced before it counts as one that has been in use."""

LOWEST: list[list[int]] = [
    [
        sum(1 << at for at in [at for at in range(DEVICES) if free >> at & 1][:devices])
        for devices in range(DEVICES + 1)
    ]
    for free in range(ALL_FREE + 1)
]
"""By free devices and number wanted: those that the broker takes, the first ones."""


class Held(NamedTuple):
    """What a life holds: devices of one node."""

    row: int
    mask: int


@dataclass(slots=True)
class Nodes:
    """Columns; the rows of a model lie together in each block.

    Attributes:
        free: Devices that are free, as bits.
        count: Their number.
        cpu: Free thousandths of a core.
        model: Of the node's devices.
        center: Of the node; each has nodes of every model.
    """

    free: NDArray[np.uint8]
    count: NDArray[np.int8]
    cpu: NDArray[np.int32]
    model: NDArray[np.int8]
    center: NDArray[np.int32]

    def copy(self) -> Nodes:
        """Columns of their own; models and centers never change."""
        return Nodes(self.free.copy(), self.count.copy(), self.cpu.copy(), self.model, self.center)

    def take(self, held: Held) -> None:
        """Grant."""
        self._put(held, self.free.item(held.row) & ~held.mask)

    def give(self, held: Held) -> None:
        """Take back."""
        self._put(held, self.free.item(held.row) | held.mask)

    def _put(self, held: Held, free: int) -> None:
        row, was = held.row, self.count.item(held.row)
        self.free[row] = free
        self.count[row] = now = free.bit_count()
        self.cpu[row] += (now - was) * CPU_A_DEVICE_MILLI


def empty(nodes: int, seed: int) -> Nodes:
    """Nodes of which nothing is granted, with some processor in use by others."""
    rng = np.random.default_rng(seed)
    foreign = rng.integers(2_000, 32_000, nodes, dtype=np.int32)
    return Nodes(
        np.full(nodes, ALL_FREE, dtype=np.uint8),
        np.full(nodes, DEVICES, dtype=np.int8),
        CPU_MILLI - foreign,
        np.sort(np.arange(nodes) % MODELS).astype(np.int8),
        (np.arange(nodes) % centers_of(nodes)).astype(np.int32),
    )


def centers_of(nodes: int) -> int:
    """Number of centers of so many nodes."""
    return max(1, nodes // NODES_A_CENTER)


def some_requests(
    rng: np.random.Generator, count: int, centers: int, one_center: float = ONE_CENTER
) -> list[Request]:
    """What callers ask for, in a pool with so many centers; `one_center` of them name one."""
    sizes = rng.choice(SIZES, count, p=SIZE_SHARES).tolist()
    models = rng.integers(0, MODELS, count).tolist()
    any_model = (rng.random(count) < ANY_MODEL).tolist()
    at = np.where(rng.random(count) < one_center, rng.integers(0, centers, count), -1).tolist()
    return [
        Request(size, -1 if whatever else model, center)
        for size, model, whatever, center in zip(sizes, models, any_model, at, strict=True)
    ]


@cache
def used_for_long(nodes: int, use: float, seed: int) -> tuple[Nodes, tuple[Held, ...]]:
    """A pool with that share of its devices granted, and what its lives hold.

    One planner has granted and random lives have ended until all were replaced TURNOVERS times:
    free devices lie as best fit leaves them, not as filling once would. Do not change it: copies
    are made of it.
    """
    rng = np.random.default_rng(seed)
    pool, lives = empty(nodes, seed), list[Held]()
    wanted = int(nodes * DEVICES * use)
    granted, made = 0, 0
    enough = (1 + TURNOVERS) * wanted / MEAN_DEVICES
    while made < enough or granted < wanted:
        for request in some_requests(rng, 1_000, centers_of(nodes)):
            while lives and granted + request.devices > wanted:
                at = int(rng.integers(len(lives)))
                lives[at], lives[-1] = lives[-1], lives[at]
                ended = lives.pop()
                pool.give(ended)
                granted -= ended.mask.bit_count()
            row = best_row(pool, request, Policy("best"), rng)
            made += 1
            if row >= 0:
                held = Held(row, LOWEST[pool.free.item(row)][request.devices])
                pool.take(held)
                lives.append(held)
                granted += request.devices
    return pool, tuple(lives)


def tiled(pool: Nodes, lives: tuple[Held, ...], times: int) -> tuple[Nodes, list[Held]]:
    """The same pool several times over, as one with all its nodes."""
    nodes = len(pool.free)
    turns = np.repeat(np.arange(times, dtype=np.int32) * centers_of(nodes), nodes)
    more = Nodes(
        np.tile(pool.free, times),
        np.tile(pool.count, times),
        np.tile(pool.cpu, times),
        np.tile(pool.model, times),
        np.tile(pool.center, times) + turns,
    )
    moved = [Held(row + turn * nodes, mask) for turn in range(times) for row, mask in lives]
    return more, moved
