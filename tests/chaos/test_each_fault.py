"""Every fault once, by itself: service comes back, and nothing that was promised is broken.

Each takes seconds, so they run when COMPUTEPOOL_EACH_FAULT is set; COMPUTEPOOL_TEST_SEED=SEED, as
printed, repeats one. `make test` has a short run of random ones, see test_random_faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.menu import menu
from chaos.rounds import Rounds
from chaos.world import Shape, World

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from chaos.fault import Fault

SHAPES = {"alone": Shape(), "many": Shape(brokers=3, ha=True)}
NOT_YET = {"many": "a broker does not find its Redis by sentinels yet"}


def cases() -> list[ParameterSet]:
    """Every fault on every shape of pool that can have it."""
    return [
        pytest.param(
            shape,
            fault.name,
            id=f"{name}-{fault.name}",
            marks=[pytest.mark.xfail(reason=NOT_YET[name])] if name in NOT_YET else [],
        )
        for name, shape in SHAPES.items()
        for fault in menu(shape)
    ]


def named(shape: Shape, name: str) -> Fault:
    """A fault of the menu."""
    return next(fault for fault in menu(shape) if fault.name == name)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("shape", "name"), cases())
async def test_a_fault_breaks_no_promise(
    tmp_path: Path, seed: str, shape: Shape, name: str
) -> None:
    async with World(tmp_path, shape) as world, Rounds(world, seed) as rounds:
        line = await rounds.round(named(shape, name))
        await rounds.finish()
        assert rounds.wrong == [], line
