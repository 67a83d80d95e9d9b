"""Messages of the protocol about allocations, as plain values. Pure.

A state that this version does not know, sent by a later broker, reads as UNSPECIFIED.
"""

from collections.abc import Iterable
from datetime import UTC
from enum import StrEnum
from typing import Final, TypeVar

from computepool.v1 import allocation_pb2, types_pb2
from computepool_client import explanations, values

S = TypeVar("S", bound=StrEnum)

_DEFAULT_TTL_S: Final = 3600
_SPREADS: Final = {
    types_pb2.SPREAD_OVER_NODES: "nodes",
    types_pb2.SPREAD_OVER_CENTERS: "centers",
    types_pb2.SPREAD_OVER_REGIONS: "regions",
}


def words(items: Iterable[tuple[str, int]], prefix: str, kind: type[S]) -> dict[int, S]:
    """The words of `kind` by the numbers that the protocol gives them."""
    known = {member.value for member in kind}
    found = ((name.removeprefix(prefix), number) for name, number in items)
    return {number: kind(word) for word, number in found if word in known}


_ALLOCATION: Final = words(
    allocation_pb2.AllocationState.items(), "ALLOCATION_STATE_", values.AllocationState
)
_END: Final = words(allocation_pb2.EndReason.items(), "END_REASON_", values.EndReason)
_ACK: Final = words(allocation_pb2.AckLevel.items(), "ACK_LEVEL_", values.AckLevel)
_PART: Final = words(types_pb2.LeaseState.items(), "LEASE_STATE_", values.PartState)


def ack(level: int) -> values.AckLevel:
    """What an answer guarantees."""
    return _ACK.get(level, values.AckLevel.UNSPECIFIED)


def resources(message: types_pb2.Resources) -> values.Resources:
    """Amounts besides devices."""
    return values.Resources(
        message.cpu_milli, message.memory_mib, message.disk_mib, dict(message.extras)
    )


def spec(message: types_pb2.AllocationSpec) -> values.Spec:
    """What was asked for."""
    part = message.part
    stop = message.contact.policy == types_pb2.CONTACT_POLICY_STOP_AFTER
    return values.Spec(
        gpus=part.devices,
        gpu_milli=part.device_milli,
        models=tuple(part.models),
        min_gpu_memory_mib=part.min_device_memory_mib,
        resources=resources(part.resources),
        count=message.count or 1,
        regions=tuple(message.regions),
        centers=tuple(message.centers),
        node_labels=dict(message.node_labels),
        ttl_s=message.ttl_s or _DEFAULT_TTL_S,
        stop_after_s=message.contact.after_s if stop else None,
        spread=_SPREADS.get(message.spread.over, ""),
        max_skew=message.spread.max_skew,
        power_gflops=message.power.gflops,
        precision=message.power.precision,
        mixed=message.power.mixed,
    )


def part(message: allocation_pb2.Lease) -> values.Part:
    """One part at its place."""
    devices = tuple(
        values.Device(share.device_id, share.milli, message.model, message.node)
        for share in message.devices
    )
    return values.Part(
        id=message.id,
        index=message.index,
        region=message.region,
        center=message.center,
        node=message.node,
        model=message.model,
        devices=devices,
        resources=resources(message.resources),
        state=_PART.get(message.state, values.PartState.UNSPECIFIED),
        place_revision=message.place_revision,
    )


def allocation(message: allocation_pb2.Allocation) -> values.Allocation:
    """One allocation as it is."""
    made = message.HasField("create_time")
    return values.Allocation(
        id=message.id,
        tenant=message.tenant,
        spec=spec(message.spec),
        state=_ALLOCATION.get(message.state, values.AllocationState.UNSPECIFIED),
        parts=tuple(part(lease) for lease in message.leases),
        end_reason=_END.get(message.end_reason, values.EndReason.UNSPECIFIED),
        end_message=message.end_message,
        etag=message.etag,
        create_time=message.create_time.ToDatetime(tzinfo=UTC) if made else None,
        remaining_ttl_ms=message.remaining_ttl_ms,
        description=message.description,
        labels=dict(message.labels),
        request_id=message.request_id,
        revision=message.revision,
        adopted=message.adopted,
        flags=tuple(message.flags),
        power_gflops=message.power_gflops,
    )


def refusal(message: allocation_pb2.Refusal) -> values.Refusal:
    """Why there is no room."""
    centers = tuple(
        values.CenterRefusal(
            each.center,
            each.region,
            each.reason,
            each.resource,
            each.missing,
            each.nodes,
            each.age_ms,
        )
        for each in message.centers
    )
    nearest = tuple(
        values.NearestFit(
            each.field, each.asked, each.fits, each.summary, spec(each.spec), each.center
        )
        for each in message.nearest
    )
    return values.Refusal(
        summary=message.summary,
        centers=centers,
        centers_omitted=message.centers_omitted,
        view_revision=message.view_revision,
        parts_placeable=message.parts_placeable,
        nearest=nearest,
        beyond_pool=message.beyond_pool,
    )


def preview(message: allocation_pb2.PreviewAllocationResponse) -> values.Preview:
    """Where it would go."""
    refused = refusal(message.refusal) if message.HasField("refusal") else None
    return values.Preview(
        tuple(part(lease) for lease in message.leases), refused, message.view_revision
    )


def explanation(message: allocation_pb2.ExplainAllocationResponse) -> explanations.Explanation:
    """The reasons."""
    return explanations.Explanation(
        summary=message.summary,
        view_revision=message.view_revision,
        refusal=refusal(message.refusal) if message.HasField("refusal") else None,
        parts=tuple(_part_explanation(each) for each in message.parts),
        parts_omitted=message.parts_omitted,
        filters=tuple(explanations.FilterStep(each.reason, each.nodes) for each in message.filters),
        allocation=allocation(message.allocation) if message.HasField("allocation") else None,
    )


def changes(
    message: allocation_pb2.WatchAllocationsResponse, *, restarted: bool
) -> explanations.Changes:
    """Some changes of allocations."""
    existing = allocation_pb2.ALLOCATION_EVENT_KIND_EXISTING
    gone = allocation_pb2.ALLOCATION_EVENT_KIND_GONE
    return explanations.Changes(
        events=tuple(
            explanations.AllocationEvent(
                allocation(event.allocation), event.kind == existing, event.kind == gone
            )
            for event in message.events
        ),
        resume_token=message.resume_token,
        synced=message.synced,
        revision=message.revision,
        restarted=restarted,
    )


def _part_explanation(message: allocation_pb2.PartExplanation) -> explanations.PartExplanation:
    return explanations.PartExplanation(
        index=message.index,
        place=_candidate(message.place),
        model=message.model,
        rank=message.rank,
        candidates=message.candidates,
        others=tuple(_candidate(each) for each in message.others),
        summary=message.summary,
        state=_PART.get(message.state, values.PartState.UNSPECIFIED),
    )


def _candidate(message: allocation_pb2.Candidate) -> explanations.Candidate:
    return explanations.Candidate(
        message.node,
        message.center,
        message.region,
        message.score,
        message.cpu_milli_left,
        message.device_milli_left,
    )
