"""A client's side of StreamAllocations, as gRPC would hand it on, for streams without a wire."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc.aio import EOF

from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.rpc.stream import CallStream, stream_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from computepool.v1 import allocation_pb2 as wire
    from support.broker_kit import BrokerKit


class StreamClient:
    """Has sent some calls already; `open_end` keeps the stream open after them."""

    def __init__(
        self, calls: Sequence[wire.StreamAllocationsRequest], *, open_end: bool = False
    ) -> None:
        self._calls = [call.SerializeToString() for call in calls]
        self._open_end = open_end
        self.results: list[wire.StreamResult] = []

    async def read(self) -> bytes | object:
        """See grpc.aio.ServicerContext."""
        if self._calls:
            return self._calls.pop(0)
        if self._open_end:
            await asyncio.Event().wait()
        return EOF

    async def write(self, message: wire.StreamAllocationsResponse) -> None:
        """See grpc.aio.ServicerContext."""
        self.results += message.results


def stream_of(kit: BrokerKit, client: StreamClient) -> CallStream:
    """The broker's side of it."""
    parts = stream_parts(kit.pool, kit.grants, kit.waits, SpecReader(), kit.answers)
    return CallStream(parts, client)  # type: ignore[arg-type] # all that it uses of a context
