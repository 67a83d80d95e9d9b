"""Reading what single calls, batches and streams have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.errors import InvalidArgumentError
from computepool_broker.rpc import from_wire, limits
from computepool_broker.services.grants import Create
from computepool_broker.services.levels import Level

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2 as wire
    from computepool_broker.services.levels import Levels

    Waits = wire.CreateAllocationRequest | wire.BatchCreateAllocationsRequest


def read_create(request: wire.CreateAllocationRequest, specs: from_wire.SpecReader) -> Create:
    """What is asked for; how long to wait is read apart."""
    description, labels = request.description, request.labels
    return Create(
        from_wire.read_tenant("tenant", request.tenant),
        from_wire.read_request_id(request.request_id),
        specs.read("spec", request.spec),
        limits.text("description", description) if description else "",
        limits.labels("labels", labels) if labels else (),
    )


def read_waits(request: Waits, levels: Levels) -> tuple[float, Level]:
    """How long a create waits for ACTIVE, in seconds (0 does not wait), and its level."""
    wait_s = from_wire.read_wait_s(request.wait_for, request.wait_ms)
    asked = from_wire.read_ack_level(request.ack_level)
    if asked is Level.CONFIRMED and not wait_s:
        raise InvalidArgumentError(
            "ack_level", "CONFIRMED waits for ACTIVE: leave wait_for out, or say ACTIVE"
        )
    return wait_s, levels.of_create(asked, waits=wait_s > 0)


def read_release_level(request: wire.ReleaseAllocationRequest, levels: Levels) -> Level:
    """The level of a release."""
    asked = from_wire.read_ack_level(request.ack_level)
    if asked is Level.CONFIRMED:
        raise InvalidArgumentError("ack_level", "a release is COMMITTED or DURABLE")
    return levels.of_release(asked)


def read_renew(request: wire.RenewAllocationRequest) -> tuple[str, str, int]:
    """Id, etag, TTL in seconds (0 keeps it)."""
    ttl_s = request.ttl_s
    if ttl_s:
        limits.ranged("ttl_s", ttl_s, from_wire.LEAST_TTL_S, from_wire.YEAR_S)
    return from_wire.read_id("id", request.id), limits.text("etag", request.etag, 64), ttl_s


def read_release(request: wire.ReleaseAllocationRequest) -> tuple[str, str, str]:
    """Id, etag, message."""
    return (
        from_wire.read_id("id", request.id),
        limits.text("etag", request.etag, 64),
        limits.text("message", request.message),
    )
