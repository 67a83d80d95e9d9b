"""Reading what single calls, batches and streams have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.rpc import from_wire, limits
from computepool_broker.services.grants import Create

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2 as wire


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
