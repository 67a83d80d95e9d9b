"""The simulation of a sharded pool keeps its own books right."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simulation.choice import POLICIES, Policy
from simulation.costs import SOURCES, UNARY, table
from simulation.pool import ALL_FREE, DEVICES, MEAN_DEVICES, used_for_long
from simulation.run import Setup, World, simulate
from simulation.seat import Kind

if TYPE_CHECKING:
    from simulation.shard import Change, Commit, Shard

BEST, FEW, SLICES, BOTH = POLICIES
SMALL = Setup(
    brokers=4, shards=1, policy=BEST, nodes=1_600, rate=800.0, warm_s=0.1, seconds=0.4, seed=7
)


class Audited(World):
    """Keeps a book of its own of every device, from what the shards have answered."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.granted = [Counter[tuple[int, int]]() for _ in self.shards]
        for number, shard in enumerate(self.shards):
            for row in range(len(self._pool.free)):
                for at in bits(ALL_FREE & ~shard.free_of(row)):
                    self.granted[number][row, at] += 1
        self.audits = 0
        self.unanswered: list[list[Commit]] = [[] for _ in self.shards]

    def _serve(self, shard: Shard, now_s: float) -> None:
        self.unanswered[self.shards.index(shard)] += shard.queue
        super()._serve(shard, now_s)

    def _served(self, shard: Shard, commits: list[Commit], now_s: float) -> None:
        for commit in commits:
            for change, accepted in zip(commit.changes, commit.accepted, strict=True):
                if accepted:
                    self._count(self.granted[self.shards.index(shard)], change)
            self.unanswered[self.shards.index(shard)].remove(commit)
            self.audits += 1
        super()._served(shard, commits, now_s)

    def _count(self, granted: Counter[tuple[int, int]], change: Change) -> None:
        for held, by in ((change.give, -1), (change.take, 1)):
            if held is not None:
                for at in bits(held.mask):
                    granted[held.row, at] += by
                    assert 0 <= granted[held.row, at] <= 1, f"device {at} of {held.row}"


def bits(mask: int) -> list[int]:
    return [at for at in range(DEVICES) if mask >> at & 1]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_no_device_is_ever_granted_twice(policy: Policy) -> None:
    world = Audited(replace(SMALL, policy=policy))
    world.run()
    assert world.audits > 100
    for number, shard in enumerate(world.shards):
        for commit in world.unanswered[number]:
            for change, accepted in zip(commit.changes, commit.accepted, strict=True):
                if accepted:
                    world._count(world.granted[number], change)
        for row in range(len(world._pool.free)):
            free = sum(1 << at for at in range(DEVICES) if not world.granted[number][row, at])
            assert free == shard.free_of(row)


def test_views_that_have_read_the_whole_stream_are_as_the_shard() -> None:
    world = World(replace(SMALL, policy=FEW, shards=2))
    world.run()
    for seat in world.seats:
        shard = world.shards[seat.where.shard]
        for job in seat.under_way or []:  # planned, and not yet answered
            if job.life.held is not None and job.kind is Kind.CREATE:
                seat.view.give(job.life.held)
        seat.fold(shard.stream[seat.folded :], world.end_s)
        want = [shard.free_of(row) for row in range(len(seat.view.free))]
        assert seat.view.free.tolist() == want
        assert seat.view.count.tolist() == [free.bit_count() for free in want]


def test_equal_setups_give_equal_figures_and_another_seed_gives_others() -> None:
    setup = replace(SMALL, policy=BOTH)
    assert simulate(setup) == simulate(setup)
    assert simulate(setup) != simulate(replace(setup, seed=8))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_one_broker_alone_never_conflicts(policy: Policy) -> None:
    found = simulate(replace(SMALL, brokers=1, policy=policy, rate=500.0))
    assert found.granted_per_s > 400
    assert found.conflicts == 0
    assert found.stale_p99_ms == 0


def test_several_that_take_the_same_best_node_conflict_and_slices_keep_them_apart() -> None:
    best, sliced = simulate(SMALL), simulate(replace(SMALL, policy=SLICES))
    assert best.conflicts > 20
    assert sliced.conflicts < best.conflicts / 10


def test_a_pool_that_is_asked_for_more_than_its_brokers_can_do_does_not_keep_up() -> None:
    setup = replace(SMALL, policy=BOTH, warm_s=0.2, seconds=1.0)
    assert simulate(setup).keeps_up
    assert not simulate(replace(setup, rate=12_000.0)).keeps_up


def test_dearer_following_makes_brokers_busier() -> None:
    dear = replace(SMALL, policy=BOTH, costs=UNARY.times(4, "fold_us"))
    assert simulate(dear).brokers_busy > simulate(replace(SMALL, policy=BOTH)).brokers_busy * 1.1


def test_each_life_makes_its_five_changes() -> None:
    # Lives end within the run: grants, their reports, ends and returns are alike in number.
    found = simulate(replace(SMALL, policy=BOTH, warm_s=0.5, seconds=1.5))
    assert found.commits_per_s / found.granted_per_s == pytest.approx(5, rel=0.1)


def test_a_gang_over_shards_costs_two_more_trips_and_leaves_nothing_behind() -> None:
    setup = replace(SMALL, policy=BOTH, shards=2, gangs=0.3)
    world = Audited(setup)
    found = world.run()
    assert found.gang_p50_ms > 2 * found.grant_p50_ms
    assert found.keeps_up


def test_a_seat_at_every_shard_costs_more_following() -> None:
    setup = replace(SMALL, policy=BOTH, brokers=4, shards=4)
    alone, everywhere = simulate(setup), simulate(replace(setup, everywhere=True))
    assert alone.stale_p99_ms == 0  # nobody else at its shard
    assert everywhere.brokers_busy > alone.brokers_busy


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SMALL, shards=3),
        replace(SMALL, shards=8),
        replace(SMALL, shards=1, gangs=0.1),
    ],
    ids=["shards that do not divide the pool", "a shard without a broker", "gangs in one shard"],
)
def test_setups_that_mean_nothing_are_refused(wrong: Setup) -> None:
    with pytest.raises(ValueError, match="shard"):
        World(wrong)


def test_a_pool_used_for_long_is_as_full_as_asked_and_in_pieces() -> None:
    pool, lives = used_for_long(1_000, 0.9, 3)
    used = 1_000 * DEVICES - int(pool.count.sum())
    assert used / (1_000 * DEVICES) == pytest.approx(0.9, abs=0.01)
    assert sum(held.mask.bit_count() for held in lives) == used
    assert used / len(lives) == pytest.approx(MEAN_DEVICES, rel=0.1)
    assert np.count_nonzero((pool.count > 0) & (pool.count < DEVICES)) > 20


def test_every_cost_says_where_it_comes_from() -> None:
    assert set(SOURCES) == set(UNARY.__slots__)
    assert all(text in table(UNARY) for text in SOURCES.values())
