"""What a program asks for, as messages of the protocol. Pure."""

from typing import Final

from computepool.v1 import allocation_pb2, types_pb2
from computepool_client.asking import Ack, Order
from computepool_client.values import Spec

_ACKS: Final[dict[Ack, allocation_pb2.AckLevel]] = {
    "committed": allocation_pb2.ACK_LEVEL_COMMITTED,
    "durable": allocation_pb2.ACK_LEVEL_DURABLE,
    "confirmed": allocation_pb2.ACK_LEVEL_CONFIRMED,
}
_SPREADS: Final = {
    "nodes": types_pb2.SPREAD_OVER_NODES,
    "centers": types_pb2.SPREAD_OVER_CENTERS,
    "regions": types_pb2.SPREAD_OVER_REGIONS,
}


def ack(level: Ack | None) -> allocation_pb2.AckLevel:
    """The level of acknowledgement; without one it is the broker's."""
    return allocation_pb2.ACK_LEVEL_UNSPECIFIED if level is None else _ACKS[level]


def spec(value: Spec) -> types_pb2.AllocationSpec:
    """The specification as a message; the broker judges the amounts."""
    part = types_pb2.PartSpec(
        resources=types_pb2.Resources(
            cpu_milli=value.resources.cpu_milli,
            memory_mib=value.resources.memory_mib,
            disk_mib=value.resources.disk_mib,
            extras=value.resources.extras,
        ),
        devices=value.gpus,
        device_milli=value.gpu_milli,
        models=value.models,
        min_device_memory_mib=value.min_gpu_memory_mib,
    )
    return types_pb2.AllocationSpec(
        part=part,
        count=value.count,
        regions=value.regions,
        centers=value.centers,
        node_labels=value.node_labels,
        ttl_s=value.ttl_s,
        contact=_contact(value),
        spread=_spread(value),
        power=_power(value),
    )


def create(
    order: Order,
    wait_for: allocation_pb2.WaitFor = allocation_pb2.WAIT_FOR_UNSPECIFIED,
    wait_ms: int = 0,
    level: Ack | None = None,
) -> allocation_pb2.CreateAllocationRequest:
    """The request of one allocation."""
    return allocation_pb2.CreateAllocationRequest(
        tenant=order.tenant,
        request_id=order.request_id,
        spec=spec(order.spec),
        description=order.description,
        labels=order.labels,
        wait_for=wait_for,
        wait_ms=wait_ms,
        ack_level=ack(level),
    )


def _contact(value: Spec) -> types_pb2.ContactTerm:
    if value.stop_after_s is None:
        return types_pb2.ContactTerm(policy=types_pb2.CONTACT_POLICY_KEEP)
    policy = types_pb2.CONTACT_POLICY_STOP_AFTER
    return types_pb2.ContactTerm(policy=policy, after_s=value.stop_after_s)


def _spread(value: Spec) -> types_pb2.Spread | None:
    if not value.spread and not value.max_skew:
        return None
    over = _SPREADS.get(value.spread, types_pb2.SPREAD_OVER_UNSPECIFIED)
    return types_pb2.Spread(over=over, max_skew=value.max_skew)


def _power(value: Spec) -> types_pb2.Power | None:
    if not (value.power_gflops or value.precision or value.mixed):
        return None
    return types_pb2.Power(gflops=value.power_gflops, precision=value.precision, mixed=value.mixed)
