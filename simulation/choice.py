"""Which node a request goes to: the broker's filters and score in short, and ways to differ. Pure.

Filters: enough free devices, the model, the center. Score: that of placement/score.py, by devices
and processor left. Ties go by row, as there by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.pool import Nodes

CPU_A_DEVICE_MILLI = 8_000
CPU_REFERENCE_MILLI = 128_000
DEVICE_REFERENCE = 8


class Request(NamedTuple):
    """Devices wanted on one node; of a model or of any (-1), in a center or in any (-1)."""

    devices: int
    model: int = -1
    center: int = -1


class Policy(NamedTuple):
    """How several brokers keep out of each other's way.

    Attributes:
        name: For tables.
        few: A random one of so many best is taken; 1 takes the best.
        slices: A broker takes the best of its own slice of the nodes; `few` is for outside of it.
    """

    name: str
    few: int = 1
    slices: bool = False


FEW = 16
POLICIES = (
    Policy("best"),
    Policy("few", FEW),
    Policy("slices", slices=True),
    Policy("slices+few", FEW, slices=True),
)
"""`best`: best fit, ties by name, as one broker does. `few`: a random one of the best 16.
`slices`: best fit in the own slice, elsewhere only when nothing there fits. `slices+few`: that,
and elsewhere a random one of the best 16."""


def slots(nodes: int, brokers: int) -> NDArray[np.uint8]:
    """Whose slice each row is in: by a hash of the row, evenly."""
    mixed = (np.arange(nodes, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return (mixed % np.uint64(brokers)).astype(np.uint8)


def best_row(
    pool: Nodes,
    request: Request,
    policy: Policy,
    rng: np.random.Generator,
    mine: NDArray[np.bool_] | None = None,
) -> int:
    """The row that the request goes to, or -1 when none fits.

    Args:
        pool: The view.
        request: What is wanted.
        policy: How to choose.
        rng: For policies that choose at random.
        mine: Rows of the own slice, for policies with slices.
    """
    fits = pool.count >= request.devices
    if request.model >= 0:
        fits &= pool.model == request.model
    if request.center >= 0:
        fits &= pool.center == request.center
    if policy.slices and mine is not None:
        own = np.flatnonzero(fits & mine)
        if len(own):
            return chosen(pool, request, own, 1, rng)
    return chosen(pool, request, np.flatnonzero(fits), policy.few, rng)


def chosen(
    pool: Nodes, request: Request, rows: NDArray[np.intp], few: int, rng: np.random.Generator
) -> int:
    """The best of the rows, or a random one of the best few."""
    if not len(rows):
        return -1
    cpu_left = np.minimum(
        pool.cpu[rows] - request.devices * CPU_A_DEVICE_MILLI, CPU_REFERENCE_MILLI
    )
    loss = cpu_left / CPU_REFERENCE_MILLI + pool.count[rows] / DEVICE_REFERENCE
    if few == 1:
        return int(rows[loss.argmin()])
    if len(rows) > few:
        rows = rows[np.argpartition(loss, few - 1)[:few]]
    return int(rows[rng.integers(len(rows))])
