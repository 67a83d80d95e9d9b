"""The steps that clients ask for, as jobs of the writer: grant, renew, release.

Each is a plain function of the tables that stages what it changes; whoever calls it decides how
many go into one job, and who waits for what. Used by single calls, batches and streams alike.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.errors import (
    EtagMismatchError,
    LeaseEndedError,
    NotFoundError,
    OutcomeUnknownError,
    PoolError,
    RequestIdReusedError,
)
from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import Committed, Renewal, Transaction
from computepool_broker.model.amounts import add, subtract
from computepool_broker.model.records import LIVE_STATES, Allocation, EndReason
from computepool_broker.model.request import digest_of
from computepool_broker.placement.planner import MOST_ALIKE
from computepool_broker.services.refusals import Refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.model.request import Spec
    from computepool_broker.placement.places import Place
    from computepool_broker.services.explanations import Explanations
    from computepool_broker.services.ids import AllocationIds
    from computepool_broker.services.pool import Pool

    Done = dict[int, tuple["Granted | PoolError", Committed | None]]
    Planned = tuple[Allocation, Sequence[Place]]
    Stage = Callable[[Transaction], Outcome]

POWER_WEIGHT = 32
"""What a grant by power weighs, whose parts nobody knows beforehand."""


class Create(NamedTuple):
    """A validated CreateAllocation."""

    tenant: str
    request_id: str
    spec: Spec
    description: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def weight(self) -> int:
        """What it costs the writer, in grants of one part."""
        return POWER_WEIGHT if self.spec.power is not None else self.spec.parts


class Granted(NamedTuple):
    """A grant, and whether an earlier call with the request_id had made it."""

    allocation: Allocation
    duplicate: bool


class Grants:
    """What single calls, batches and streams do to allocations."""

    def __init__(self, pool: Pool, ids: AllocationIds, explanations: Explanations) -> None:
        self._pool = pool
        self._ids = ids
        self._refusals = Refusals(pool, explanations)

    def create(self, stage: Stage, call: Create) -> Granted:
        """Grant one request.

        Raises:
            NoRoomError: Refused, with the reasons.
            WarmingUpError: Refused now, but agents are still expected back.
            RequestIdReusedError: The request_id has other content.
            OutcomeUnknownError: The store failed.
        """
        digest = _digest(call)
        if digest:
            known = self._known(call, digest)
            if known is not None:
                return Granted(known, duplicate=True)
        draft, places = self._plan(call, digest)
        self._commit(stage, lifecycle.grant(self._pool.state, draft, places))
        return Granted(draft, duplicate=False)

    def create_each(
        self, stage: Stage, calls: Sequence[Create], done: Done | None = None
    ) -> list[Granted | PoolError]:
        """Grant each request by itself; what came of each, in their order.

        Equal requests of one part are planned and committed together, which costs a third less.
        So they come one after the other, where the first of them stands.

        Args:
            stage: Stages transactions.
            calls: What is asked for.
            done: What an earlier run of the same job has done, for it to be done but once.
        """
        done = {} if done is None else done
        for at in [at for at, (_, outcome) in done.items() if outcome and outcome.undone]:
            del done[at]
        results: dict[int, Granted | PoolError] = {at: result for at, (result, _) in done.items()}
        left_over = [at for at in range(len(calls)) if at not in done]
        last = _Last(stage)
        for group in _alike(calls, left_over):
            last.outcome = None
            try:
                left = (
                    self._create_alike(last, calls, group, results) if len(group) > 1 else group
                )
            except PoolError as error:  # the store has failed
                left = []
                results.update(dict.fromkeys(group, error))
            done.update((at, (results[at], last.outcome)) for at in group if at not in left)
            for at in left:
                last.outcome = None
                try:
                    results[at] = self.create(last, calls[at])
                except PoolError as error:
                    results[at] = error
                done[at] = results[at], last.outcome
        return [results[at] for at in range(len(calls))]

    def create_all(self, stage: Stage, calls: Sequence[Create]) -> list[Granted]:
        """Grant all requests in one commit, or none.

        They are planned one after the other with the amounts of those before held back, so that
        together they fit.

        Raises:
            PoolError: As `create`; metadata "index" says for which request.
        """
        made: list[Granted] = []
        plans: list[Planned] = []
        own: dict[tuple[str, str], Allocation] = {}
        try:
            for call in calls:
                made.append(self._assumed(call, own, plans))  # noqa: PERF401 - counts up to an error
        except PoolError as error:
            error.metadata["index"] = str(len(made))
            raise
        finally:
            for _, places in reversed(plans):
                self._unassume(places)
        if plans:
            self._grant_together(stage, plans)
        return made

    def renew(self, stage: Stage, allocation_id: str, etag: str, ttl_s: int) -> Allocation:
        """Start the TTL anew, with another length unless `ttl_s` is 0.

        Raises:
            NotFoundError: There is none.
            LeaseEndedError: It has ended, and how.
            EtagMismatchError: It is not as the caller saw it.
        """
        pool = self._pool
        allocation = self.find(allocation_id)
        if allocation.state not in LIVE_STATES:
            raise LeaseEndedError(
                f"{allocation_id} has ended: {allocation.end_reason.name}",
                metadata={"end_reason": allocation.end_reason.name},
            )
        _check_etag(allocation, etag)
        ttl = ttl_s or allocation.spec.ttl_s
        tx = lifecycle.change_spec_ttl(pool.state, allocation, ttl)
        if pool.committer.shared:
            # Whoever does the chores must hear of it, and must not have ended it already.
            renewal = (Renewal(allocation_id, allocation.revision),)
            tx = (tx or Transaction(pool.state.epoch))._replace(renew=renewal)
        if tx is not None:
            stage(tx)
            allocation = pool.state.allocations[allocation_id]
        pool.ttl.set(allocation_id, pool.clock.now_ms + ttl * 1000)
        return allocation

    def release(self, stage: Stage, allocation_id: str, etag: str, message: str) -> Allocation:
        """End it for its tenant; idempotent.

        Raises:
            NotFoundError: There is none.
            EtagMismatchError: It is not as the caller saw it.
        """
        state = self._pool.state
        allocation = self.find(allocation_id)
        if allocation.state in LIVE_STATES:
            _check_etag(allocation, etag)
        tx = lifecycle.end(state, allocation, EndReason.RELEASED, message)
        if tx is not None:
            stage(tx)
        return state.allocations[allocation_id]

    def find(self, allocation_id: str) -> Allocation:
        """The allocation.

        Raises:
            NotFoundError: There is none, or it ended more than an hour ago.
        """
        allocation = self._pool.state.allocations.get(allocation_id)
        if allocation is None:
            raise NotFoundError(
                f"no allocation {allocation_id!r}", metadata={"allocation_id": allocation_id}
            )
        return allocation

    # -- one grant -------------------------------------------------------------------------

    def _known(self, call: Create, digest: bytes) -> Allocation | None:
        state = self._pool.state
        known = state.request_ids.get((call.tenant, call.request_id))
        return None if known is None else _same(state.allocations[known], call, digest)

    def _create_alike(
        self,
        stage: Stage,
        calls: Sequence[Create],
        group: Sequence[int],
        results: dict[int, Granted | PoolError],
    ) -> list[int]:
        """Grant equal requests in one commit, as far as there is room; which are left."""
        state, pool = self._pool.state, self._pool
        fresh: list[int] = []
        left: list[int] = []
        own: set[tuple[str, str]] = set()
        for at in group:
            key = (calls[at].tenant, calls[at].request_id)
            twin = bool(key[1]) and (key in state.request_ids or key in own)
            (left if twin else fresh).append(at)
            own.add(key)
        began = perf_counter()
        places = pool.planner.plan_alike(calls[group[0]].spec.shape, len(fresh))
        pool.tally.plan_s.add(perf_counter() - began)
        if not places:
            return sorted(left + fresh)
        plans = [
            (self._draft(calls[at], _digest(calls[at])), [place])
            for at, place in zip(fresh, places, strict=False)
        ]
        self._grant_together(stage, plans)
        for at, (draft, _) in zip(fresh, plans, strict=False):
            results[at] = Granted(draft, duplicate=False)
        return sorted(left + fresh[len(places) :])

    def _assumed(
        self, call: Create, own: dict[tuple[str, str], Allocation], plans: list[Planned]
    ) -> Granted:
        """One of several that are granted together: planned and held back, unless it is known."""
        digest = _digest(call)
        if digest:
            known = own.get((call.tenant, call.request_id)) or self._known(call, digest)
            if known is not None:
                return Granted(_same(known, call, digest), duplicate=True)
        draft, places = self._plan(call, digest)
        self._assume(places)
        plans.append((draft, places))
        if call.request_id:
            own[call.tenant, call.request_id] = draft
        return Granted(draft, duplicate=False)

    def _plan(self, call: Create, digest: bytes) -> Planned:
        pool = self._pool
        spec = call.spec
        began = perf_counter()
        places, placeable = pool.planner.plan(spec)
        pool.tally.plan_s.add(perf_counter() - began)
        if not places:
            raise self._refusals.refused(spec, placeable)
        return self._draft(call, digest), places

    def _draft(self, call: Create, digest: bytes) -> Allocation:
        """The allocation without its parts."""
        wall_ms = self._pool.wall_ms()
        return Allocation(
            self._ids.next(wall_ms),
            call.tenant,
            call.request_id,
            digest,
            call.spec,
            (),
            wall_ms,
            call.description,
            call.labels,
        )

    def _assume(self, places: Sequence[Place]) -> None:
        """Take the places as used until `_unassume`, so that what is planned next keeps off."""
        for place in places:
            book = self._pool.state.nodes[place.node]
            add(book.used, place.amounts)
            self._pool.columns.update(book)

    def _unassume(self, places: Sequence[Place]) -> None:
        for place in places:
            book = self._pool.state.nodes[place.node]
            subtract(book.used, place.amounts)
            self._pool.columns.update(book)

    def _commit(self, stage: Stage, tx: Transaction) -> None:
        outcome = stage(tx)
        if not isinstance(outcome, Committed):
            raise OutcomeUnknownError(f"the plan was rejected: {outcome}", retry_after_ms=50)

    def _grant_together(self, stage: Stage, plans: Sequence[Planned]) -> None:
        """Commit all of them, or none."""
        steps = [lifecycle.grant(self._pool.state, draft, places) for draft, places in plans]
        self._commit(stage, _joined(steps))


class _Last:
    """Stages, and remembers the last outcome."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.outcome: Committed | None = None

    def __call__(self, tx: Transaction) -> Outcome:
        """Stage one."""
        outcome = self._stage(tx)
        if isinstance(outcome, Committed):
            self.outcome = outcome
        return outcome


def _alike(calls: Sequence[Create], chosen: Iterable[int]) -> Iterable[list[int]]:
    """Places of the chosen calls, those of equal plain requests together."""
    groups: dict[int, list[int]] = {}
    for at in chosen:
        spec = calls[at].spec
        plain = spec.parts == 1 and spec.power is None
        # By identity: equal requests that came lately share one value (from_wire.SpecReader).
        groups.setdefault(id(spec) if plain else -1 - at, []).append(at)
    return (
        group[start : start + MOST_ALIKE]
        for group in groups.values()
        for start in range(0, len(group), MOST_ALIKE)
    )


def _digest(call: Create) -> bytes:
    """Of what was asked for; empty when nobody will compare it."""
    return digest_of(call.spec, call.description, call.labels) if call.request_id else b""


def _same(known: Allocation, call: Create, digest: bytes) -> Allocation:
    if known.digest != digest:
        raise RequestIdReusedError(
            f"request_id {call.request_id!r} was used for another request",
            metadata={"allocation_id": known.id},
        )
    return known


def _check_etag(allocation: Allocation, etag: str) -> None:
    if etag and etag != allocation.etag:
        raise EtagMismatchError(f"{allocation.id} has changed", metadata={"etag": allocation.etag})


def _joined(steps: Sequence[Transaction]) -> Transaction:
    """Grants as one transaction, in which all happen or none does."""
    return steps[0]._replace(
        puts=tuple([put for tx in steps for put in tx.puts]),
        bind=tuple([name for tx in steps for name in tx.bind]),
        reserve=tuple([amounts for tx in steps for amounts in tx.reserve]),
    )
