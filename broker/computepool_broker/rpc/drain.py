"""Drain on the wire."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from computepool.v1 import inventory_pb2 as wire
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.rpc import from_wire, limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from computepool_broker.services.drain import Drains, Progress


async def drain(drains: Drains, request: wire.DrainRequest) -> AsyncIterator[wire.DrainResponse]:
    """See the contract.

    Raises:
        InvalidArgumentError: The target, or the message.
    """
    message = limits.text("message", request.message)
    which = request.WhichOneof("target")
    if which == "node":
        steps = drains.node(from_wire.read_id("node", request.node), message)
    elif which == "center":
        steps = drains.center(from_wire.read_id("center", request.center), message)
    else:
        raise InvalidArgumentError("target", "name a node or a center")
    async with aclosing(steps) as stream:
        async for progress in stream:
            yield _response(progress)


def _response(progress: Progress) -> wire.DrainResponse:
    return wire.DrainResponse(
        leases=progress.leases,
        leases_at_start=progress.leases_at_start,
        holders=[wire.DrainHolder(**holder._asdict()) for holder in progress.holders],
        holders_omitted=max(0, progress.leases - len(progress.holders)),
    )
