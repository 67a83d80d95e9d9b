"""Costs are fitted to what was measured, and what is measured is real."""

from __future__ import annotations

import pytest
from bench.engine_pool import some_shapes
from simulation import measure_fold
from simulation.measure import line, parameters
from simulation.measure_fold import BEHIND, Took


def test_lines_are_fitted() -> None:
    found = [{"x": x, "y": 5 + 2 * x} for x in (1.0, 2.0, 7.0)]
    assert line(found, "x", "y") == pytest.approx((5, 2))


def test_parameters_come_from_the_figures_that_they_name() -> None:
    lives = {
        f"unary-{n}": {
            "scripts_per_life": 1 / n,
            "broker_us_per_life": 500 + 600 / n,
            "transactions_per_script": 5.0 * n,
            "redis_us_per_script": 100 + 15 * 5 * n,
        }
        for n in (1, 4, 16)
    }
    fold = {f"plan_us_{behind}_behind": 40 + 0.2 * behind for behind in BEHIND}
    fold |= {f"{step}_us_per_change": 3.0 for step in ("decode", "fold", "view")}
    fold["plan_us_new_shape"] = 200.0
    found = parameters(lives, fold)
    assert found["job_us"] == pytest.approx(100)
    assert found["commit_us"] == pytest.approx(600)
    assert found["call_us"] == pytest.approx(100)
    assert found["transaction_us"] == pytest.approx(15)
    assert found["catch_up_row_us"] == pytest.approx(0.2)
    assert found["fold_us"] == pytest.approx(9)


def test_a_follower_has_what_the_leader_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_fold, "NODES", 200)
    monkeypatch.setattr(measure_fold, "LIVE", 20)
    took = Took()
    leader, follower = measure_fold.Leader(took), measure_fold.Follower(took)
    shapes = some_shapes(8)
    for at in range(60):
        leader.life(shapes[at % 8])
    assert not follower.same_as(leader)
    measure_fold.follow_all(took.texts, follower, shapes[0])
    assert follower.same_as(leader)
    assert took.changes == 60 * 3 + 40 * 2
    assert took.decode_s > 0
