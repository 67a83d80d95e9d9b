"""From the broker's values to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import types_pb2 as types
from computepool_broker.model.amounts import DEVICE_PREFIX, Resources, devices_of

if TYPE_CHECKING:
    from enum import IntEnum

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.records import Allocation, Part
    from computepool_broker.model.refusal import Refusal
    from computepool_broker.model.request import Spec
    from computepool_broker.placement.planner import Place
    from computepool_broker.services.agents import Mark

DETAIL_CENTERS = 8
"""Centers in an error's details: trailers over 8 KiB are dropped by many peers."""


def number(value: IntEnum) -> Any:
    """An enum's number, which is the one on the wire; the stubs want the generated enum."""
    return int(value)


def resources(r: Resources) -> types.Resources:
    """Amounts besides devices."""
    return types.Resources(
        cpu_milli=r.cpu_milli, memory_mib=r.memory_mib, disk_mib=r.disk_mib, extras=dict(r.extras)
    )


def split(amounts: Amounts) -> tuple[types.Resources, list[types.DeviceShare]]:
    """Amounts of a lease: resources and devices apart."""
    rest = {k: v for k, v in amounts if not k.startswith(DEVICE_PREFIX)}
    shares = [types.DeviceShare(device_id=i, milli=m) for i, m in devices_of(amounts)]
    return resources(Resources.of(rest)), shares


def spec_message(spec: Spec) -> types.AllocationSpec:
    """A spec with its defaults filled in."""
    part = spec.shape.part
    return types.AllocationSpec(
        part=types.PartSpec(
            resources=resources(Resources(*part[:4])),
            devices=part.devices,
            device_milli=part.device_milli,
            models=part.models,
            min_device_memory_mib=part.min_device_memory_mib,
        ),
        count=spec.parts,
        regions=spec.shape.regions,
        centers=spec.shape.centers,
        node_labels=dict(spec.shape.node_labels),
        ttl_s=spec.ttl_s,
        contact=types.ContactTerm(policy=number(spec.contact), after_s=spec.contact_after_s),
    )


class SpecWriter:
    """Makes spec messages; equal specs share one, since most allocations repeat."""

    LIMIT = 4_096

    def __init__(self) -> None:
        self._known: dict[Spec, types.AllocationSpec] = {}

    def message(self, spec: Spec) -> types.AllocationSpec:
        """A message that must not be changed."""
        known = self._known.get(spec)
        if known is None:
            if len(self._known) >= self.LIMIT:
                self._known.clear()
            known = self._known[spec] = spec_message(spec)
        return known


def lease(state: LedgerState, allocation_id: str, part: Part) -> wire.Lease:
    """One part at its place."""
    amounts, shares = split(part.amounts)
    book = state.nodes.get(part.node)
    return wire.Lease(
        id=part.lease_id(allocation_id),
        index=part.index,
        node=part.node,
        center=book.record.center if book else "",
        region=book.record.region if book else "",
        model=part.model,
        devices=shares,
        resources=amounts,
        state=number(part.state),
        place_revision=part.place_revision,
    )


def allocation(
    state: LedgerState, a: Allocation, remaining_ttl_ms: int, specs: SpecWriter
) -> wire.Allocation:
    """A whole allocation."""
    out = wire.Allocation(
        id=a.id,
        tenant=a.tenant,
        spec=specs.message(a.spec),
        state=number(a.state),
        end_reason=number(a.end_reason),
        end_message=a.end_message,
        leases=[lease(state, a.id, part) for part in a.parts],
        etag=a.etag,
        remaining_ttl_ms=remaining_ttl_ms,
        description=a.description,
        request_id=a.request_id,
        revision=a.revision,
        adopted=a.adopted,
        flags=a.flags,
    )
    if a.labels:
        out.labels.update(dict(a.labels))
    out.create_time.FromMilliseconds(a.created_ms)
    return out


def planned(state: LedgerState, places: list[Place]) -> list[wire.Lease]:
    """Places of a preview, as leases without ids."""
    out = []
    for index, place in enumerate(places):
        amounts, shares = split(place.amounts)
        record = state.nodes[place.node].record
        out.append(
            wire.Lease(
                index=index,
                region=record.region,
                center=record.center,
                node=place.node,
                model=place.model,
                devices=shares,
                resources=amounts,
            )
        )
    return out


def refusal(r: Refusal, most: int) -> wire.Refusal:
    """A refusal with at most `most` centers."""
    return wire.Refusal(
        summary=r.summary,
        centers=[wire.CenterRefusal(**c._asdict()) for c in r.centers[:most]],
        centers_omitted=max(0, len(r.centers) - most),
        view_revision=r.revision,
        parts_placeable=r.parts_placeable,
    )


def mark(m: Mark) -> types.StoreMark:
    """A store's mark."""
    return types.StoreMark(identity=m.identity, epoch=m.epoch, revision=m.revision)


def lease_record(m: Mark, a: Allocation, part: Part, specs: SpecWriter) -> types.LeaseRecord:
    """What an agent journals of a lease. Its mark names the commit that granted it."""
    amounts, shares = split(part.amounts)
    return types.LeaseRecord(
        lease_id=part.lease_id(a.id),
        allocation_id=a.id,
        tenant=a.tenant,
        request_id=a.request_id,
        digest=a.digest,
        index=part.index,
        count=a.spec.parts,
        place_revision=part.place_revision,
        node=part.node,
        devices=shares,
        resources=amounts,
        spec=specs.message(a.spec),
        mark=types.StoreMark(identity=m.identity, epoch=m.epoch, revision=part.revision),
        description=a.description,
        labels=dict(a.labels),
        model=part.model,
    )
