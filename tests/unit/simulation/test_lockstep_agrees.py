"""The simplified choice makes the conflicts that the broker's own code makes."""

from __future__ import annotations

import pytest
from simulation.choice import POLICIES, Policy
from simulation.lockstep import Lockstep, real, simplified

BEST, FEW, SLICES, BOTH = POLICIES


@pytest.mark.parametrize("policy", [BEST, SLICES], ids=lambda policy: policy.name)
@pytest.mark.parametrize("planners", [1, 3])
def test_without_chance_to_the_last_plan(policy: Policy, planners: int) -> None:
    setup = Lockstep(planners, batch=4, policy=policy, nodes=500, rounds=25, seed=11)
    ours = simplified(setup)
    assert ours == real(setup)
    assert ours.granted > 50
    if planners == 1:
        assert ours.rejected == 0
    elif policy is BEST:
        assert ours.rejected > 50


@pytest.mark.parametrize("policy", [FEW, BOTH], ids=lambda policy: policy.name)
def test_with_chance_about_as_many(policy: Policy) -> None:
    setup = Lockstep(4, batch=6, policy=policy, nodes=500, rounds=40, seed=5)
    ours, theirs = simplified(setup), real(setup)
    asked = 4 * 6 * 40
    assert abs(ours.rejected - theirs.rejected) < asked * 0.05
    assert abs(ours.granted - theirs.granted) < asked * 0.05
