"""grpc.health.v1: whether calls are worth while now.

gRPC's own servicer holds a lock over all watchers of a service while it writes to one, and its
watches outlive the server's grace; this one does neither.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from computepool_broker.errors import NotFoundError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
MAX_WATCHES = 1_000
LAST_WORD_S = 1.0
"""How long a stopping broker waits for its watchers to be told."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # grpc_health ships no types
    """One answer for all services of the broker: NOT_SERVING until it is told otherwise."""

    def __init__(self, services: Sequence[str]) -> None:
        """Begin.

        Args:
            services: Names that may be asked for, besides "" for the whole broker.
        """
        self._services = frozenset(("", *services))
        self._status = NOT_SERVING
        self._changed = asyncio.Event()
        self._watches: set[asyncio.Event] = set()
        self._closing = False

    def set_serving(self, *, serving: bool) -> None:
        """Say it to all who ask or watch; once closing, nothing changes any more."""
        status = SERVING if serving and not self._closing else NOT_SERVING
        if status != self._status:
            self._status = status
            self._tell()

    async def close(self) -> None:
        """Tell all watchers NOT_SERVING, and end their streams; waits a second at most."""
        self._closing = True
        self._status = NOT_SERVING
        self._tell()
        ends = [asyncio.ensure_future(ended.wait()) for ended in self._watches]
        if ends:
            _, late = await asyncio.wait(ends, timeout=LAST_WORD_S)
            for each in late:
                each.cancel()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, _: Context
    ) -> health_pb2.HealthCheckResponse:
        """See grpc.health.v1."""
        if request.service not in self._services:
            raise NotFoundError(f"no service {request.service[:200]!r}")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, _: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """See grpc.health.v1."""
        if len(self._watches) >= MAX_WATCHES:
            raise OverloadedError("too many watch the broker's health", retry_after_ms=60_000)
        ended = asyncio.Event()
        self._watches.add(ended)
        try:
            known, told = request.service in self._services, None
            while True:
                status = self._status if known else UNKNOWN
                changed = self._changed
                if status != told:
                    yield health_pb2.HealthCheckResponse(status=status)
                    told = status
                elif self._closing:
                    return
                else:
                    await changed.wait()
        finally:
            self._watches.discard(ended)
            ended.set()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
