"""Measures anew, on this machine, what costs.py says, and fits lines where it has slopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulation import measure_broker, measure_fold, measure_stream
from simulation.costs import LIFE_STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECONDS = 8.0
"""For each way of asking."""


def measure(folder: Path) -> dict[str, Any]:
    """All raw figures, and the parameters that follow from them.

    Raises:
        BenchError: A daemon did not start, or ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fold = measure_fold.run()
    lives = measure_broker.run(folder, SECONDS)
    stream = measure_stream.run(folder, fold["bytes_per_change"])
    return {
        "parameters": parameters(lives, fold),
        "lives": lives,
        "fold": fold,
        "stream": stream,
    }


def parameters(lives: dict[str, dict[str, float]], fold: dict[str, float]) -> dict[str, float]:
    """Those of costs.Costs that are fitted, in microseconds."""
    unary = [found for name, found in lives.items() if name.startswith("unary")]
    life_us, commit_us = line(unary, "scripts_per_life", "broker_us_per_life")
    call_us, transaction_us = line(unary, "transactions_per_script", "redis_us_per_script")
    behind = [each for each in measure_fold.BEHIND if each > measure_fold.BEHIND[0]]
    row_us, catch_up_us = np.polyfit(behind, [fold[f"plan_us_{each}_behind"] for each in behind], 1)
    known_us = fold[f"plan_us_{measure_fold.BEHIND[0]}_behind"]
    steps = ("decode", "fold", "view")
    return {
        "job_us": life_us / LIFE_STEPS,
        "commit_us": commit_us,
        "plan_us": known_us,
        "catch_up_us": float(catch_up_us),
        "catch_up_row_us": float(row_us),
        "build_row_us": (fold["plan_us_new_shape"] - known_us) / measure_fold.NODES,
        "fold_us": sum(fold[f"{step}_us_per_change"] for step in steps),
        "call_us": call_us,
        "transaction_us": transaction_us,
    }


def line(found: Sequence[dict[str, float]], x: str, y: str) -> tuple[float, float]:
    """Intercept and slope of the straight line through what was found."""
    slope, intercept = np.polyfit([each[x] for each in found], [each[y] for each in found], 1)
    return float(intercept), float(slope)
