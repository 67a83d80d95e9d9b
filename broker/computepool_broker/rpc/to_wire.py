"""From the broker's values to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import types_pb2 as types
from computepool_broker.model.amounts import CPU, DEVICE_PREFIX, DISK, MEMORY, Resources
from computepool_broker.model.memo import Memo
from computepool_broker.placement.power import gflops_of

if TYPE_CHECKING:
    from enum import IntEnum

    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
    from google.protobuf.message import Message

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.records import Allocation, Part
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec
    from computepool_broker.placement.places import Place
    from computepool_broker.services.messages import Mark

DETAIL_CENTERS = 8
"""Centers in an error's details at most; fewer when their names are long."""
DETAIL_BYTES = 2_048
"""Of a refusal in an error's details: with all else in a status it stays under 4 KiB, since
trailers over 8 KiB are dropped by many peers."""
MAX_SUMMARY = 500
PAGE_BYTES = 3 * 1024 * 1024
"""Of the rows in a page, and of the records in an answer: a message has at most 4 MiB."""

M = TypeVar("M", bound="Message")


def fitting(rows: list[M], most_bytes: int = PAGE_BYTES) -> list[M]:
    """The first of the rows, as many as go into one message; at least one, if there is one."""
    left = most_bytes
    for at, row in enumerate(rows):
        left -= row.ByteSize()
        if left < 0 and at:
            return rows[:at]
    return rows


def number(value: IntEnum) -> Any:
    """An enum's number, which is the one on the wire; the stubs want the generated enum."""
    return value


def resources(r: Resources) -> types.Resources:
    """Amounts besides devices."""
    out = types.Resources(cpu_milli=r.cpu_milli, memory_mib=r.memory_mib, disk_mib=r.disk_mib)
    for name, amount in r.extras:
        out.extras[name] = amount
    return out


def fill_amounts(
    amounts: Amounts,
    have: types.Resources,
    devices: RepeatedCompositeFieldContainer[types.DeviceShare],
) -> None:
    """Write the amounts of a lease: resources here, devices there."""
    for key, amount in amounts:
        if key.startswith(DEVICE_PREFIX):
            devices.add(device_id=key[2:], milli=amount)
        elif key == CPU:
            have.cpu_milli = amount
        elif key == MEMORY:
            have.memory_mib = amount
        elif key == DISK:
            have.disk_mib = amount
        else:
            have.extras[key[2:]] = amount


def spec_message(spec: Spec) -> types.AllocationSpec:
    """A spec with its defaults filled in."""
    part = spec.shape.part
    spread, power = spec.spread, spec.power
    return types.AllocationSpec(
        part=types.PartSpec(
            resources=resources(Resources(*part[:4])),
            devices=part.devices,
            device_milli=part.device_milli,
            models=part.models,
            min_device_memory_mib=part.min_device_memory_mib,
        ),
        count=0 if power else spec.parts,
        regions=spec.shape.regions,
        centers=spec.shape.centers,
        node_labels=dict(spec.shape.node_labels),
        ttl_s=spec.ttl_s,
        contact=types.ContactTerm(policy=number(spec.contact), after_s=spec.contact_after_s),
        spread=types.Spread(over=number(spread.over), max_skew=spread.max_skew) if spread else None,
        power=types.Power(**power._asdict()) if power else None,
    )


class SpecWriter:
    """Makes spec messages; those of one spec are one message, since most allocations repeat."""

    def __init__(self) -> None:
        self.message: Memo[Spec, types.AllocationSpec] = Memo(spec_message, _byte_size)


def _byte_size(message: Message) -> int:
    return message.ByteSize()


def fill_allocation(
    out: wire.Allocation,
    state: LedgerState,
    a: Allocation,
    remaining_ttl_ms: int,
    specs: SpecWriter,
) -> None:
    """Write a whole allocation into `out`.

    In place, and only what is not the default: every answer does this, and building messages
    first and copying them takes twice as long.
    """
    allocation_id = out.id = a.id
    out.tenant = a.tenant
    out.spec.CopyFrom(specs.message(a.spec))
    out.state = number(a.state)
    out.etag = a.etag
    out.remaining_ttl_ms = remaining_ttl_ms
    out.revision = a.revision
    created = out.create_time
    created.seconds, millis = divmod(a.created_ms, 1000)
    created.nanos = millis * 1_000_000
    if a.end_reason:
        out.end_reason = number(a.end_reason)
        out.end_message = a.end_message
    if a.request_id:
        out.request_id = a.request_id
    if a.description:
        out.description = a.description
    if a.labels:
        out.labels.update(dict(a.labels))
    if a.adopted:
        out.adopted = True
        out.flags.extend(a.flags)
    if a.spec.power is not None:
        out.power_gflops = gflops_of(a.parts, a.spec.power.precision)
    for part in a.parts:
        fill_lease(out.leases.add(), state, allocation_id, part)


def fill_lease(out: wire.Lease, state: LedgerState, allocation_id: str, part: Part) -> None:
    """Write one part at its place into `out`."""
    out.id = part.lease_id(allocation_id)
    out.index = part.index
    out.node = part.node
    book = state.nodes.get(part.node)
    if book is not None:
        out.center = book.record.center
        out.region = book.record.region
    out.model = part.model
    out.state = number(part.state)
    out.place_revision = part.place_revision
    fill_amounts(part.amounts, out.resources, out.devices)


def planned(state: LedgerState, places: list[Place]) -> list[wire.Lease]:
    """Places of a preview, as leases without ids."""
    out = []
    for index, place in enumerate(places):
        record = state.nodes[place.node].record
        lease = wire.Lease(
            index=index,
            region=record.region,
            center=record.center,
            node=place.node,
            model=place.model,
        )
        fill_amounts(place.amounts, lease.resources, lease.devices)
        out.append(lease)
    return out


def refusal(r: Refusal) -> wire.Refusal:
    """A refusal with all centers, and what would fit instead."""
    out = _refusal(r, [wire.CenterRefusal(**c._asdict()) for c in r.centers], r.summary)
    for near in r.nearest:
        words = {name: value for name, value in near._asdict().items() if name != "spec"}
        out.nearest.add(spec=spec_message(near.spec), **words)
    return out


def short_refusal(r: Refusal) -> wire.Refusal:
    """A refusal for an error's details: the first centers, as many as go there."""
    nearest = [wire.CenterRefusal(**c._asdict()) for c in r.centers[:DETAIL_CENTERS]]
    return _refusal(r, fitting(nearest, DETAIL_BYTES), r.summary[:MAX_SUMMARY])


def _refusal(r: Refusal, centers: list[wire.CenterRefusal], summary: str) -> wire.Refusal:
    return wire.Refusal(
        summary=summary,
        centers=centers,
        centers_omitted=len(r.centers) - len(centers),
        view_revision=r.revision,
        parts_placeable=r.parts_placeable,
        beyond_pool=r.beyond_pool,
    )


def mark(m: Mark) -> types.StoreMark:
    """A store's mark."""
    return types.StoreMark(identity=m.identity, epoch=m.epoch, revision=m.revision)


def fill_record(
    out: types.LeaseRecord, m: Mark, a: Allocation, part: Part, specs: SpecWriter
) -> None:
    """Write what an agent journals of a lease. Its mark names the commit that granted it."""
    out.lease_id = part.lease_id(a.id)
    out.allocation_id = a.id
    out.tenant = a.tenant
    out.request_id = a.request_id
    out.digest = a.digest
    out.index = part.index
    out.count = a.spec.parts
    out.place_revision = part.place_revision
    out.node = part.node
    out.model = part.model
    out.spec.CopyFrom(specs.message(a.spec))
    out.mark.identity = m.identity
    out.mark.epoch = m.epoch
    out.mark.revision = part.revision
    out.description = a.description
    if a.labels:
        out.labels.update(dict(a.labels))
    fill_amounts(part.amounts, out.resources, out.devices)
