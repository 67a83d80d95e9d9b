"""A ledger with something of everything in it, staged on any store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.errors import OutcomeUnknownError
from computepool_broker.ledger import adoption, lifecycle
from computepool_broker.ledger.transaction import (
    Blocker,
    Committed,
    EpochStart,
    PutAgent,
    PutCenter,
    PutNode,
    SetBlockers,
    Transaction,
)
from computepool_broker.model.records import (
    AgentState,
    AllocationState,
    EndReason,
    PartState,
)
from computepool_broker.placement.places import Place
from support.builders import (
    make_agent,
    make_allocation,
    make_held_record,
    make_node,
    make_resources,
    make_spec,
    whole,
)

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.records import Allocation
    from computepool_broker.store.base import Store

ONE_CORE: Amounts = (("cpu_milli", 1000),)


def accept(store: Store, tx: Transaction | None) -> int:
    """Stage a step that must be possible and accepted; gives the revision."""
    assert tx is not None
    outcome = store.stage(tx)
    assert isinstance(outcome, Committed), outcome
    return outcome.revision


def draft(key: str, *, count: int = 1, request_id: str = "", description: str = "") -> Allocation:
    """An allocation without its parts, as `lifecycle.grant` takes it."""
    out = make_allocation(
        key, spec=make_spec(cpu=1, count=count), request_id=request_id, description=description
    )
    out.parts = ()
    return out


def grant(
    state: LedgerState, key: str, *places: tuple[str, Amounts], request_id: str = ""
) -> Transaction:
    """Grant amounts on nodes to a new allocation; one core on n1 if none are named."""
    chosen = [Place(node, "", amounts) for node, amounts in places or (("n1", ONE_CORE),)]
    return lifecycle.grant(state, draft(key, count=len(chosen), request_id=request_id), chosen)


def join(store: Store, agent: str = "a1", *nodes: str) -> None:
    """Bring an active agent with nodes of 8 devices into the pool; n1 if none are named."""
    epoch = store.state.epoch
    accept(
        store, Transaction(epoch, agents=(PutAgent(agent, make_agent(agent), AgentState.ACTIVE),))
    )
    puts = tuple(PutNode(name, make_node(name, agent=agent)) for name in nodes or ("n1",))
    accept(store, Transaction(epoch, nodes=puts))


def fill_pool(store: Store) -> None:
    """Stage two agents, their nodes, cordons, and allocations in every state."""
    join(store, "a1", "n1", "n2", "n3")
    rich = make_node(
        "n4",
        agent="a2",
        center="中心",
        extras={"licenses": 5},
        reserved=make_resources(cpu=2, memory=8, licenses=1),
        foreign=make_resources(cpu=1),
        labels={"rack": "7", "disk type": "ssd"},
    )
    epoch = store.state.epoch
    agent = make_agent("a2", center="中心", session=7)
    accept(store, Transaction(epoch, agents=(PutAgent("a2", agent, AgentState.ACTIVE),)))
    accept(store, Transaction(epoch, nodes=(PutNode("n4", rich),)))
    _allocate(store)
    accept(store, Transaction(epoch, new_epoch=EpochStart(epoch + 2, store.state.revision)))
    _adopt(store)
    cordon = SetBlockers("n3", Blocker.CORDONED, 0, 'fan 3 is "loud"')
    accept(store, Transaction(epoch + 2, blockers=(cordon,)))
    accept(
        store, Transaction(epoch + 2, centers=(PutCenter("中心", cordoned=True, message="move"),))
    )
    accept(store, Transaction(epoch + 2, centers=(PutCenter("c9", cordoned=False),)))


def _allocate(store: Store) -> None:
    state = store.state
    accept(store, grant(state, "reserved", request_id="r1"))
    accept(store, grant(state, "gang", ("n1", whole("n1", 0)), ("n4", (("x/licenses", 2),))))
    accept(store, lifecycle.progress(state, state.allocations["gang"], 0, PartState.ADMITTED))
    accept(store, lifecycle.progress(state, state.allocations["gang"], 1, PartState.ADMITTED))
    accept(store, grant(state, "moved", ("n1", whole("n1", 1)), request_id='"r,2"'))
    there = Place("n2", "H800", whole("n2", 1))
    accept(store, lifecycle.place_anew(state, state.allocations["moved"], 0, there))
    accept(store, grant(state, "releasing", ("n1", ONE_CORE), ("n2", ONE_CORE)))
    accept(store, end(state, "releasing"))
    accept(store, lifecycle.gone(state, state.allocations["releasing"], (1,)))
    for key in ("ended", "forgotten"):
        accept(store, grant(state, key, request_id=key))
        accept(store, end(state, key))
        accept(store, lifecycle.gone(state, state.allocations[key], (0,)))
    accept(store, lifecycle.forget_ended(state, state.allocations["forgotten"]))


def _adopt(store: Store) -> None:
    for key, request_id in (("adopted", "r7"), ("collides", "r1")):
        held = make_held_record(
            key, node="n2", amounts=whole("n2", 1), request_id=request_id, count=2
        )
        accept(store, adoption.adopt(store.state, "a1", held, 5))


async def grant_until_it_fails(store: Store, life: str, staged: list[str]) -> set[str]:
    """Grant and commit, one after the other, until a commit has an unknown outcome.

    Gives those that were confirmed; `staged` is told of all, in their order.
    """
    confirmed: set[str] = set()
    while True:
        key = f"{life}-{len(staged)}"
        accept(store, grant(store.state, key, ("n1", (("disk_mib", 1),))))
        staged.append(key)
        try:
            await store.commit()
        except OutcomeUnknownError:
            return confirmed
        confirmed.add(key)


def cordon(node: str) -> Transaction:
    """An operator cordons a node, in the first epoch."""
    return Transaction(1, blockers=(SetBlockers(node, Blocker.CORDONED, 0, "later"),))


def end(state: LedgerState, key: str) -> Transaction | None:
    """The tenant releases an allocation."""
    return lifecycle.end(state, state.allocations[key], EndReason.RELEASED, "done")


STATES_IN_POOL = {
    "reserved": AllocationState.RESERVED,
    "gang": AllocationState.ACTIVE,
    "moved": AllocationState.RESERVED,
    "releasing": AllocationState.RELEASING,
    "ended": AllocationState.ENDED,
    "adopted": AllocationState.ACTIVE,
    "collides": AllocationState.ACTIVE,
}
"""What `fill_pool` leaves behind."""
