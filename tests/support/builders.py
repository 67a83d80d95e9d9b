"""Builders of the broker's values: a valid object in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.config import Config
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.reconcile import Held, HeldRecord, HeldState
from computepool_broker.ledger.state import LedgerState
from computepool_broker.ledger.transaction import (
    Committed,
    NodeAmounts,
    PutAgent,
    PutAllocation,
    PutNode,
    Transaction,
)
from computepool_broker.model.amounts import Amounts, Resources
from computepool_broker.model.records import (
    AgentRecord,
    AgentState,
    Allocation,
    AllocationState,
    Device,
    Devices,
    NodeRecord,
    Part,
    PartState,
)
from computepool_broker.model.request import (
    ContactPolicy,
    PartSpec,
    Power,
    Shape,
    Spec,
    Spread,
    digest_of,
)
from computepool_broker.placement.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Iterable

GIB = 1024


def make_config(**knobs: object) -> Config:
    """Settings whose clocks are easy to reckon with: a tick is at most 20 s."""
    return Config(**{"tick_ms": 10_000, "lost_after_s": 60.0, **knobs})  # type: ignore[arg-type]


def make_resources(cpu: int = 0, memory: int = 0, disk: int = 0, **extras: int) -> Resources:
    """Amounts; cpu in cores, memory and disk in GiB."""
    return Resources(cpu * 1000, memory * GIB, disk * GIB, tuple(sorted(extras.items())))


def make_devices(
    node: str, count: int, model: str = "H800", memory: int = 80, foreign: int = 0
) -> tuple[Device, ...]:
    """Devices of a node, named "<node>-d0" and so on; memory in GiB."""
    return tuple(
        Device(f"{node}-d{at}", model, memory * GIB, foreign_milli=foreign) for at in range(count)
    )


def make_node(
    name: str = "n1",
    *,
    gpus: int = 8,
    model: str = "H800",
    devices: Iterable[Device] | None = None,
    cpu: int = 64,
    memory: int = 512,
    disk: int = 1000,
    extras: dict[str, int] | None = None,
    reserved: Resources | None = None,
    foreign: Resources | None = None,
    center: str = "c1",
    region: str = "r1",
    agent: str = "a1",
    labels: dict[str, str] | None = None,
    unschedulable: bool = False,
    gone: bool = False,
) -> NodeRecord:
    """A node as its agent reports it; cpu in cores, memory and disk in GiB."""
    return NodeRecord(
        name,
        center,
        region,
        agent,
        make_resources(cpu, memory, disk, **(extras or {})),
        reserved or Resources(),
        foreign or Resources(),
        Devices.of(make_devices(name, gpus, model) if devices is None else devices),
        tuple(sorted((labels or {}).items())),
        unschedulable,
        gone,
    )


def make_agent(name: str = "a1", *, center: str = "c1", session: int = 1) -> AgentRecord:
    """An agent as it introduces itself."""
    return AgentRecord(name, f"journal-{name}", session, center, "r1", "core", "1", "simulated")


def make_spec(
    *,
    gpus: int = 0,
    milli: int = 0,
    cpu: int = 0,
    memory: int = 0,
    disk: int = 0,
    extras: dict[str, int] | None = None,
    count: int = 1,
    models: Iterable[str] = (),
    device_memory: int = 0,
    regions: Iterable[str] = (),
    centers: Iterable[str] = (),
    labels: dict[str, str] | None = None,
    ttl_s: int = 3600,
    stop_after_s: int = 0,
    spread: Spread | None = None,
    power: Power | None = None,
) -> Spec:
    """A request; cpu in cores, memory, disk and device memory in GiB. One core if nothing."""
    if not (gpus or milli or cpu or memory or disk or extras or power):
        cpu = 1
    part = PartSpec(
        cpu * 1000,
        memory * GIB,
        disk * GIB,
        tuple(sorted((extras or {}).items())),
        gpus,
        milli,
        tuple(sorted(models)),
        device_memory * GIB,
    )
    shape = Shape(
        part,
        tuple(sorted(regions)),
        tuple(sorted(centers)),
        tuple(sorted((labels or {}).items())),
    )
    policy = ContactPolicy.STOP_AFTER if stop_after_s else ContactPolicy.KEEP
    return Spec(shape, count, ttl_s, policy, stop_after_s, spread, power)


def whole(node: str, *places: int) -> Amounts:
    """Whole devices of a node, by their places."""
    return tuple((f"d/{node}-d{place}", 1000) for place in places)


def make_part(
    index: int = 0,
    node: str = "n1",
    state: PartState = PartState.PENDING,
    amounts: Amounts | None = None,
    *,
    place_revision: int = 0,
    revision: int = 0,
) -> Part:
    """A part that holds one core, or what is given."""
    held = (("cpu_milli", 1000),) if amounts is None else amounts
    return Part(index, place_revision, node, "", held, state, revision)


def make_allocation(
    key: str = "x",
    *parts: Part,
    state: AllocationState = AllocationState.RESERVED,
    request_id: str = "",
    tenant: str = "default",
    spec: Spec | None = None,
    **others: object,
) -> Allocation:
    """An allocation of one core on n1, or of the given parts."""
    chosen = parts or (make_part(),)
    content = spec or make_spec(cpu=1, count=len(chosen))
    return Allocation(
        key,
        tenant,
        request_id,
        digest_of(content, "", ()),
        content,
        chosen,
        1_000,
        state=state,
        **others,  # type: ignore[arg-type]
    )


def make_state(
    *nodes: NodeRecord,
    agents: Iterable[AgentRecord] = (),
    allocations: Iterable[Allocation] = (),
    columns: Columns | None = None,
) -> LedgerState:
    """Tables with active agents, their nodes, and allocations; agents are made as named."""
    state = LedgerState(identity="store-1")
    if columns is not None:
        state.on_node, state.on_node_gone = columns.update, columns.remove
    known = {a.name: a for a in agents}
    for node in nodes:
        known.setdefault(node.agent, make_agent(node.agent, center=node.center))
    commit(
        state,
        agents=tuple(PutAgent(n, a, AgentState.ACTIVE) for n, a in known.items()),
        nodes=tuple(PutNode(node.name, node) for node in nodes),
    )
    for allocation in allocations:
        commit(
            state,
            puts=(PutAllocation(allocation.id, allocation),),
            bind=(allocation.id,) if allocation.request_id else (),
            reserve=tuple(
                NodeAmounts(p.node, p.amounts, forced=True)
                for p in allocation.parts
                if p.state is not PartState.GONE
            ),
        )
    return state


def make_columns(*nodes: NodeRecord) -> tuple[Columns, LedgerState]:
    """A view that follows the tables of these nodes."""
    columns = Columns()
    return columns, make_state(*nodes, columns=columns)


def commit(state: LedgerState, **parts: object) -> int:
    """Commit a transaction that must be accepted; gives the revision."""
    outcome = Ledger(state).apply(Transaction(state.epoch, **parts))  # type: ignore[arg-type]
    assert isinstance(outcome, Committed), outcome
    return outcome.revision


def apply(state: LedgerState, tx: Transaction | None) -> int:
    """Commit a step that must be possible and accepted; gives the revision."""
    assert tx is not None
    outcome = Ledger(state).apply(tx)
    assert isinstance(outcome, Committed), outcome
    return outcome.revision


def make_held(
    lease_id: str = "x.0.0", state: HeldState = HeldState.ADMITTED, reason: str = ""
) -> Held:
    """A lease as a routine report has it: without its record."""
    return Held(lease_id, state, reason)


def make_held_record(
    key: str = "x",
    *,
    index: int = 0,
    count: int = 1,
    node: str = "n1",
    amounts: Amounts | None = None,
    request_id: str = "",
    identity: str = "store-0",
    epoch: int = 1,
    revision: int = 5,
    state: HeldState = HeldState.STARTED,
    spec: Spec | None = None,
) -> Held:
    """A lease as a first report has it: with its whole record, granted by another store."""
    content = spec or make_spec(cpu=1, count=count)
    held = (("cpu_milli", 1000),) if amounts is None else amounts
    record = HeldRecord(
        f"{key}.{index}.0",
        key,
        "default",
        request_id,
        digest_of(content, "", ()),
        index,
        count,
        0,
        node,
        "",
        held,
        content,
        identity,
        epoch,
        revision,
    )
    return Held(record.lease_id, state, "", "", record)
