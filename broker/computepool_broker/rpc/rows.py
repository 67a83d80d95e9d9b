"""One message per node and per agent, for lists.

Runs inside a job of the committer: books change with every grant, and what is read of them must
be durable before it is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool.v1 import inventory_pb2 as wire
from computepool.v1 import types_pb2 as types
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.amounts import DEVICE_PREFIX, Resources
from computepool_broker.rpc import to_wire
from computepool_broker.services.pool import NEVER

if TYPE_CHECKING:
    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Device
    from computepool_broker.services.pool import Pool


def node_row(pool: Pool, book: NodeBook) -> wire.Node:
    """A node with its devices."""
    record, used = book.record, book.used
    life = pool.lives.get(record.agent)
    seen = life.observed_ms if life else NEVER
    return wire.Node(
        name=record.name,
        region=record.region,
        center=record.center,
        agent=record.agent,
        total=to_wire.resources(Resources() if record.gone else record.total),
        reserved=to_wire.resources(record.reserved),
        foreign=to_wire.resources(record.foreign),
        granted=to_wire.resources(Resources.of(used)),
        devices=[
            wire.NodeDevice(
                device=_device(d),
                granted_milli=used.get(DEVICE_PREFIX + d.id, 0),
                gone=record.gone,
            )
            for d in record.devices
        ],
        labels=dict(record.labels),
        schedulable=book.blockers == 0,
        blockers=Blocker.names(book.blockers),
        age_ms=NEVER if seen == NEVER else pool.clock.now_ms - seen,
        leases=book.leases,
        cordon_message=book.message,
    )


def _device(device: Device) -> types.Device:
    healthy = types.DEVICE_HEALTH_HEALTHY
    return types.Device(
        id=device.id,
        model=device.model,
        memory_mib=device.memory_mib,
        health=healthy if device.healthy else types.DEVICE_HEALTH_UNHEALTHY,
        foreign_milli=device.foreign_milli,
    )


def agent_row(pool: Pool, book: AgentBook) -> wire.Agent:
    """An agent, and how it is doing."""
    record = book.record
    life = pool.life(record.name)
    return wire.Agent(
        name=record.name,
        center=record.center,
        region=record.region,
        state=to_wire.number(book.state),
        session=record.session,
        last_sync_age_ms=pool.clock.now_ms - life.heard_ms if life.session else NEVER,
        nodes=len(book.nodes),
        leases=len(book.leases),
        refusals=life.refusals,
        last_refusal=life.last_refusal,
        version=record.version,
        backend=record.backend,
    )
