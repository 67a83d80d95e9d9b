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
    NoRoomError,
    NotFoundError,
    OutcomeUnknownError,
    PoolError,
    RequestIdReusedError,
    WarmingUpError,
)
from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import Committed, Transaction
from computepool_broker.model.amounts import add, subtract
from computepool_broker.model.records import LIVE_STATES, Allocation, EndReason
from computepool_broker.model.request import digest_of
from computepool_broker.placement.explain import HARD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec
    from computepool_broker.placement.places import Place
    from computepool_broker.services.explanations import Explanations
    from computepool_broker.services.ids import AllocationIds
    from computepool_broker.services.pool import Pool

    Planned = tuple[Allocation, Sequence[Place]]
    Stage = Callable[[Transaction], Outcome]

RETRY_SOON_MS = 2_000
"""Retry hint when room may come back with the next release."""
RETRY_LATE_MS = 60_000
"""Retry hint when only the pool's make-up can change the answer."""
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
        self._explanations = explanations

    def create(self, stage: Stage, call: Create) -> Granted:
        """Grant one request.

        Raises:
            NoRoomError: Refused, with the reasons.
            WarmingUpError: Refused now, but agents are still expected back.
            RequestIdReusedError: The request_id has other content.
            OutcomeUnknownError: The store failed.
        """
        digest = b""
        if call.request_id:
            digest = digest_of(call.spec, call.description, call.labels)
            known = self._known(call, digest)
            if known is not None:
                return Granted(known, duplicate=True)
        draft, places = self._plan(call, digest)
        self._commit(stage, lifecycle.grant(self._pool.state, draft, places))
        self._granted(draft)
        return Granted(draft, duplicate=False)

    def create_all(self, stage: Stage, calls: Sequence[Create]) -> list[Granted]:
        """Grant all requests in one commit, or none.

        They are planned one after the other with the amounts of those before held back, so that
        together they fit.

        Raises:
            PoolError: As `create`; metadata "index" says for which request.
        """
        pool = self._pool
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
            steps = [lifecycle.grant(pool.state, draft, places) for draft, places in plans]
            self._commit(stage, _joined(steps))
        for draft, _ in plans:
            self._granted(draft)
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

    def _assumed(
        self, call: Create, own: dict[tuple[str, str], Allocation], plans: list[Planned]
    ) -> Granted:
        """One of several that are granted together: planned and held back, unless it is known."""
        digest = b""
        if call.request_id:
            digest = digest_of(call.spec, call.description, call.labels)
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
            raise self._refused(spec, placeable)
        wall_ms = pool.wall_ms()
        draft = Allocation(
            self._ids.next(wall_ms),
            call.tenant,
            call.request_id,
            digest,
            spec,
            (),
            wall_ms,
            call.description,
            call.labels,
        )
        return draft, places

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

    def _granted(self, draft: Allocation) -> None:
        self._pool.start_clocks(draft)
        self._pool.grants += 1

    def _refused(self, spec: Spec, placeable: int) -> NoRoomError | WarmingUpError:
        pool = self._pool
        pool.refusals += 1
        if pool.warming_up:
            pool.tally.refusals.add("WARMING_UP")
            awaited = len(pool.expected_agents)
            who = "1 agent has" if awaited == 1 else f"{awaited} agents have"
            return WarmingUpError(
                f"{who} yet to report since the broker's start", retry_after_ms=1000
            )
        refusal = self._explanations.refusal(spec, placeable)
        pool.tally.refusals.add(_why(refusal))
        if refusal.beyond_pool:
            return NoRoomError(refusal, retry_after_ms=None)
        # Without a center the first agents have yet to come.
        soon = not refusal.centers or any(c.reason not in HARD for c in refusal.centers)
        return NoRoomError(refusal, retry_after_ms=RETRY_SOON_MS if soon else RETRY_LATE_MS)


def _why(refusal: Refusal) -> str:
    """In a word of tally.REFUSAL_REASONS."""
    if refusal.beyond_pool:
        return "BEYOND_POOL"
    return refusal.centers[0].reason if refusal.centers else "NO_CENTER"


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


def _joined(steps: Iterable[Transaction]) -> Transaction:
    """Grants as one transaction, in which all happen or none does."""
    steps = list(steps)
    return steps[0]._replace(
        puts=tuple([put for tx in steps for put in tx.puts]),
        bind=tuple([name for tx in steps for name in tx.bind]),
        reserve=tuple([amounts for tx in steps for amounts in tx.reserve]),
    )
