"""Is the simplified choice as prone to conflicts as the broker's own?

Several planners, each with a view of its own, plan a batch each on the same revision; then their
plans are committed one after the other, each view takes in what was accepted, and as many random
lives end as were granted. Once with the broker's code (real_tables.py), once with the simplified
one (pool.py, choice.py, shard.py), on the same pool and the same requests. Nothing here takes time,
so that it is the choices that are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulation.choice import Policy, Request, best_row, slots
from simulation.costs import UNARY
from simulation.pool import (
    LOWEST,
    Held,
    Nodes,
    centers_of,
    some_requests,
    used_for_long,
)
from simulation.real_tables import Tables
from simulation.shard import Change, Commit, Shard

if TYPE_CHECKING:
    from computepool_broker.ledger.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Lockstep:
    """What is compared.

    Attributes:
        batch: Requests that each planner plans before all commit.
    """

    planners: int
    batch: int
    policy: Policy
    nodes: int = 2_000
    use: float = 0.9
    rounds: int = 200
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """Plans that were accepted and rejected, and requests that found no room."""

    granted: int = 0
    rejected: int = 0
    refused: int = 0

    @property
    def conflicts(self) -> float:
        """Rejected per 1,000 granted."""
        return self.rejected / max(1, self.granted) * 1_000


class Draws:
    """The same requests, orders and ends for both."""

    def __init__(self, setup: Lockstep) -> None:
        self.setup = setup
        self.rng = np.random.default_rng(setup.seed)
        self.mine = [slots(setup.nodes, setup.planners) == place for place in range(setup.planners)]

    def requests(self) -> list[list[Request]]:
        """A batch for each planner."""
        setup = self.setup
        some = some_requests(self.rng, setup.planners * setup.batch, centers_of(setup.nodes))
        return [some[at * setup.batch : (at + 1) * setup.batch] for at in range(setup.planners)]

    def order(self) -> list[int]:
        """In which the planners commit."""
        return [int(at) for at in self.rng.permutation(self.setup.planners)]

    def pick(self, count: int) -> int:
        """One of so many lives."""
        return int(self.rng.integers(count))


def start(setup: Lockstep) -> tuple[Nodes, list[Held]]:
    """The pool that both begin with."""
    pool, lives = used_for_long(setup.nodes, setup.use, setup.seed)
    return pool.copy(), list(lives)


def simplified(setup: Lockstep) -> Outcome:
    """By the simplified choice."""
    pool, lives = start(setup)
    draws, out = Draws(setup), Outcome()
    shard, views = Shard(pool, UNARY), [pool.copy() for _ in range(setup.planners)]
    for _ in range(setup.rounds):
        plans: list[list[Held]] = []
        for place, requests in enumerate(draws.requests()):
            plans.append(planned(views[place], requests, draws, place, out))
        before, folded = len(lives), len(shard.stream)
        for place in draws.order():
            taken = plans[place]
            commit = committed(shard, place, [Change(take=held) for held in taken])
            lives += [held for held, fits in zip(taken, commit.accepted, strict=True) if fits]
        out.granted, out.rejected = shard.granted, shard.rejected
        ended = [lives.pop(draws.pick(len(lives))) for _ in range(len(lives) - before)]
        committed(shard, -1, [Change(give=held) for held in ended])
        for view in views:
            for entry in shard.stream[folded:]:
                view.free[entry.rows] = entry.free
                view.count[entry.rows] = np.bitwise_count(entry.free)
                view.cpu[entry.rows] = entry.cpu
    return out


def planned(
    view: Nodes, requests: list[Request], draws: Draws, place: int, out: Outcome
) -> list[Held]:
    """One planner's batch, held back in its view."""
    made: list[Held] = []
    for request in requests:
        row = best_row(view, request, draws.setup.policy, draws.rng, draws.mine[place])
        if row < 0:
            out.refused += 1
            continue
        held = Held(row, LOWEST[view.free.item(row)][request.devices])
        view.take(held)
        made.append(held)
    return made


def committed(shard: Shard, seat: int, changes: list[Change]) -> Commit:
    """A commit by itself."""
    commit = Commit(seat, len(shard.stream), changes)
    shard.queue.append(commit)
    shard.turn(0.0)
    return commit


def real(setup: Lockstep) -> Outcome:
    """By the broker's own code."""
    pool, held = start(setup)
    draws, out = Draws(setup), Outcome()
    truth, *replicas = [Tables(pool, held) for _ in range(setup.planners + 1)]
    lives = list(truth.state.allocations)
    for turn in range(setup.rounds):
        plans = []
        for place, requests in enumerate(draws.requests()):
            mine = draws.mine[place]
            chosen = [
                (request, replicas[place].choose(request, setup.policy, draws.rng, mine))
                for request in requests
            ]
            plans.append([(request, at) for request, at in chosen if at is not None])
            out.refused += len(requests) - len(plans[-1])
        accepted: list[Transaction] = []
        for place in draws.order():
            for number, (request, at) in enumerate(plans[place]):
                name = f"{turn}-{place}-{number}"
                tx = truth.grant(name, request, at)
                if tx is None:
                    out.rejected += 1
                    continue
                out.granted += 1
                accepted.append(tx)
                lives.append(name)
        ended = [lives.pop(draws.pick(len(lives))) for _ in accepted]
        accepted += [truth.end(name) for name in ended]
        for replica in replicas:
            replica.fold(accepted)
    return out
