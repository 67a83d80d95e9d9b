"""Some random faults under load, one after the other: a short run of what `make chaos` does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from chaos.rounds import Rounds, drawn
from chaos.world import Shape, World

if TYPE_CHECKING:
    from pathlib import Path

FAULTS_S = 15.0


@pytest.mark.timeout(240)
async def test_random_faults_break_no_promise(tmp_path: Path, seed: str) -> None:
    shape, lines = Shape(), []
    over_s = time.monotonic() + FAULTS_S
    async with World(tmp_path, shape) as world, Rounds(world, seed) as rounds:
        for fault in drawn(seed, shape):
            lines.append(await rounds.round(fault))
            if rounds.wrong or time.monotonic() > over_s:
                break
        await rounds.finish()
        assert rounds.wrong == [], "\n".join(lines)
