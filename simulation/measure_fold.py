"""What following costs a broker: reading and folding a change that another broker has made.

Two engines with equal tables in this process: one plans and commits the lives of allocations and
writes down each change as text, the other reads the text and folds it into its own tables and
view. Timed in processor time of this thread, step by step.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.engine import COLLECT
from bench.engine_pool import Engine, some_shapes

from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import NodeAmounts, PutAllocation, Transaction
from computepool_broker.model.codec import Decoder, Encoder
from computepool_broker.model.records import Allocation, EndReason, PartState

if TYPE_CHECKING:
    from computepool_broker.model.request import Spec

NODES = 10_000
LIVES = 4_000
LIVE = 500
"""Lives under way at a time, so that changes are of many nodes."""
SHAPES = 8
FRESH = 50
"""Shapes that no index has been made for."""
BEHIND = (8, 64, 256, 1_024)
"""Changes that a shape's index has to catch up with when its turn comes."""
A_BATCH = 20
"""Changes that come together; the view is brought up to date after each batch."""


@dataclass
class Took:
    """Processor seconds by step."""

    plan_s: float = 0.0
    commit_s: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    fold_s: float = 0.0
    settle_s: float = 0.0
    changes: int = 0
    lives: int = 0
    texts: list[str] = field(default_factory=list)


class Leader:
    """Makes lives and writes them down."""

    def __init__(self, took: Took) -> None:
        self.engine = Engine(NODES)
        self._took = took
        self._encode = Encoder().allocation
        self._live: deque[str] = deque()

    def life(self, spec: Spec) -> None:
        """Grant, admit, start one; end the oldest and take it back: five changes."""
        engine, took = self.engine, self._took
        began = time.thread_time()
        places, _ = engine.planner.plan(spec)
        took.plan_s += time.thread_time() - began
        took.lives += 1
        draft = Allocation(f"life-{took.lives:012x}", "measure", "", b"", spec, (), 0)
        self._commit(lifecycle.grant(engine.state, draft, places))
        for reached in (PartState.ADMITTED, PartState.STARTED):
            self._commit(lifecycle.progress(engine.state, self._now(draft.id), 0, reached))
        self._live.append(draft.id)
        if len(self._live) > LIVE:
            oldest = self._live.popleft()
            self._commit(lifecycle.end(engine.state, self._now(oldest), EndReason.RELEASED))
            self._commit(lifecycle.gone(engine.state, self._now(oldest), (0,)))

    def _now(self, allocation_id: str) -> Allocation:
        return self.engine.state.allocations[allocation_id]

    def _commit(self, tx: Transaction | None) -> None:
        if tx is None:
            raise AssertionError("every step of a life changes something")
        took, began = self._took, time.thread_time()
        self.engine.apply(tx)
        committed = time.thread_time()
        put = tx.puts[0]
        if put.record is None:
            raise AssertionError("no step of a life drops the record")
        record = self._encode(put.record)
        took.texts.append(json.dumps([record, put.expected, tx.reserve, tx.release]))
        took.commit_s += committed - began
        took.encode_s += time.thread_time() - committed
        took.changes += 1


class Follower:
    """Reads and folds what the leader wrote down."""

    def __init__(self, took: Took) -> None:
        self._engine = Engine(NODES)
        self._took = took
        self._decode = Decoder().allocation

    def follow(self, texts: list[str]) -> None:
        """One batch."""
        took, state, began = self._took, self._engine.state, time.thread_time()
        changes = [self._read(text) for text in texts]
        read = time.thread_time()
        for tx in changes:
            state.fold(tx, state.revision + 1)
        state.take_touched()
        folded = time.thread_time()
        self._engine.columns.settle()
        took.decode_s += read - began
        took.fold_s += folded - read
        took.settle_s += time.thread_time() - folded

    def _read(self, text: str) -> Transaction:
        record, expected, reserve, release = json.loads(text)
        allocation = self._decode(record)
        return Transaction(
            self._engine.state.epoch,
            puts=(PutAllocation(allocation.id, allocation, expected),),
            reserve=amounts(reserve),
            release=amounts(release),
        )

    def plan_us(self, spec: Spec) -> float:
        """Time to plan a request on what was folded so far, in microseconds."""
        began = time.thread_time()
        self._engine.planner.plan(spec)
        return (time.thread_time() - began) * 1e6

    def same_as(self, leader: Leader) -> bool:
        """Whether all nodes hold what the leader's hold."""
        mine, theirs = self._engine.state.nodes, leader.engine.state.nodes
        return all(mine[name].used == book.used for name, book in theirs.items())


def amounts(rows: list[Any]) -> tuple[NodeAmounts, ...]:
    """Amounts on nodes, as they were written down."""
    return tuple(
        [
            NodeAmounts(node, tuple([(k, n) for k, n in pairs]), forced)
            for node, pairs, forced in rows
        ]
    )


def run() -> dict[str, float]:
    """Microseconds for each step of a change, and for planning a grant.

    Raises:
        AssertionError: The follower does not have what the leader has.
    """
    gc.set_threshold(*COLLECT)
    took = Took()
    leader, follower = Leader(took), Follower(took)
    shapes = some_shapes(SHAPES)
    for at in range(LIVES):
        leader.life(shapes[at % SHAPES])
    planned = follow_all(took.texts, follower, shapes[0])
    if not follower.same_as(leader):
        raise AssertionError("the follower's nodes differ from the leader's")
    each = {
        "commit_us_per_change": took.commit_s / took.changes,
        "encode_us_per_change": took.encode_s / took.changes,
        "decode_us_per_change": took.decode_s / took.changes,
        "fold_us_per_change": took.fold_s / took.changes,
        "view_us_per_change": took.settle_s / took.changes,
    }
    size = sum(map(len, took.texts)) / took.changes
    fresh = [follower.plan_us(spec) for spec in some_shapes(2 * FRESH)[FRESH:]]
    return {
        "plan_us_new_shape": statistics.median(fresh),
        **{name: value * 1e6 for name, value in each.items()},
        **{f"plan_us_{behind}_behind": us for behind, us in planned.items()},
        "bytes_per_change": size,
    }


def follow_all(texts: list[str], follower: Follower, spec: Spec) -> dict[int, float]:
    """Fold all changes; by how far its index was behind, the median time to plan a request."""
    share = len(texts) // len(BEHIND)
    found: dict[int, float] = {}
    for turn, behind in enumerate(BEHIND):
        took: list[float] = []
        mine = texts[turn * share : (turn + 1) * share]
        for start in range(0, len(mine), behind):
            for at in range(start, min(start + behind, len(mine)), A_BATCH):
                follower.follow(mine[at : min(at + A_BATCH, start + behind)])
            took.append(follower.plan_us(spec))
        found[behind] = statistics.median(took)
    follower.follow(texts[len(BEHIND) * share :])
    return found
