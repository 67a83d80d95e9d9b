"""AgentService on the wire."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from computepool.v1 import agent_pb2 as wire
from computepool.v1 import agent_pb2_grpc
from computepool_broker import __version__
from computepool_broker.errors import OverloadedError
from computepool_broker.ledger.reconcile import Action
from computepool_broker.rpc import from_agents, from_wire, limits, to_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from computepool_broker.services.agents import AgentService
    from computepool_broker.services.messages import Answer
    from computepool_broker.services.pool import Pool

    Context = grpc.aio.ServicerContext[Any, Any]

FEATURES = ("delta",)
"""See OpenSessionResponse.features."""
MAX_BELLS = 20_000
"""Doorbell streams open at once; agents without one call at their interval."""


class AgentServicer(agent_pb2_grpc.AgentServiceServicer):
    """Validates, calls the service, answers."""

    def __init__(
        self,
        service: AgentService,
        pool: Pool,
        reader: from_wire.SpecReader,
        writer: to_wire.SpecWriter,
    ) -> None:
        self._service = service
        self._pool = pool
        self._specs = reader
        self._nodes = from_agents.NodeReader(pool.state.nodes)
        self._writer = writer
        self._bells = 0

    async def OpenSession(
        self, request: wire.OpenSessionRequest, _: Context
    ) -> wire.OpenSessionResponse:
        """See the contract."""
        mark, next_sync_ms = await self._service.open_session(from_agents.read_open(request))
        return wire.OpenSessionResponse(
            mark=to_wire.mark(mark),
            next_sync_ms=next_sync_ms,
            broker_version=__version__,
            features=FEATURES,
        )

    async def Sync(self, request: wire.SyncRequest, _: Context) -> wire.SyncResponse:
        """See the contract."""
        idle = from_agents.read_idle(request)
        if idle is not None and (answer := self._service.sync_idle(idle)) is not None:
            return self._answer(answer)
        book = self._pool.state.agents.get(request.agent)
        record = None if book is None else book.record
        reading = from_agents.read_report(request, self._specs, self._nodes, record)
        while True:
            try:
                next(reading)
            except StopIteration as done:
                return self._answer(await self._service.sync(done.value))
            await asyncio.sleep(0)  # a large part: let others have a turn

    def _answer(self, answer: Answer) -> wire.SyncResponse:
        out = wire.SyncResponse(
            mark=to_wire.mark(answer.mark),
            next_sync_ms=answer.next_sync_ms,
            least_gap_ms=answer.least_gap_ms,
            want_full=answer.want_full,
            part_accepted=answer.part_accepted,
        )
        left = to_wire.PAGE_BYTES
        for command in answer.commands:
            if left < 0:
                # The rest comes with the next answer, which is computed anew.
                out.next_sync_ms = answer.least_gap_ms
                break
            line = out.commands.add(
                lease_id=command.lease_id,
                action=to_wire.number(command.action),
                reason=command.reason,
            )
            if command.action is Action.ADMIT and command.record is not None:
                to_wire.fill_record(line.record, answer.mark, *command.record, self._writer)
            left -= line.ByteSize()
        return out

    async def WatchCommands(
        self, request: wire.WatchCommandsRequest, _: Context
    ) -> AsyncIterator[wire.WatchCommandsResponse]:
        """See the contract."""
        agent = from_wire.read_id("agent", request.agent)
        session = limits.ranged("session", request.session, 1, from_agents.MAX_REVISION)
        if self._bells >= MAX_BELLS:
            raise OverloadedError("too many doorbells", retry_after_ms=60_000)
        self._bells += 1
        try:
            async for revision in self._service.rings(agent, session):
                yield wire.WatchCommandsResponse(revision=revision)
        finally:
            self._bells -= 1

    async def CloseSession(
        self, request: wire.CloseSessionRequest, _: Context
    ) -> wire.CloseSessionResponse:
        """See the contract."""
        await self._service.close_session(
            from_wire.read_id("agent", request.agent), request.session
        )
        return wire.CloseSessionResponse()
