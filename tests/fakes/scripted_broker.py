"""A real gRPC server that speaks AgentService by simple rules: for units of the agent only.

It wants the leases in `want` and nothing else, activates what is admitted, and never forgets
what it was told. Scripts come first: the next entry of `open_script` or `sync_script`, when
there is one, takes the place of a call's outcome. `reports` holds complete reports.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Self

import grpc.aio

from computepool.v1 import agent_pb2, agent_pb2_grpc, types_pb2
from fakes.scripted_services import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    Context = grpc.aio.ServicerContext[Any, Any]

DEADLINE_S = 15.0


@dataclass
class Report:
    """All parts of a report together.

    `leases` are all that the agent holds, also when the report is a difference to `base`; `nodes`
    are those that it names.
    """

    parts: list[agent_pb2.SyncRequest]
    base: Report | None = None
    leases: dict[str, agent_pb2.HeldLease] = field(init=False)
    nodes: dict[str, agent_pb2.NodeReport] = field(init=False)

    def __post_init__(self) -> None:
        named = {lease.lease_id: lease for part in self.parts for lease in part.leases}
        gone = {name for part in self.parts for name in part.leases_gone}
        before = self.base.leases if self.base is not None else {}
        self.leases = {k: v for k, v in before.items() if k not in gone} | named
        self.nodes = {node.node: node for part in self.parts for node in part.nodes}

    @property
    def head(self) -> agent_pb2.SyncRequest:
        return self.parts[0]

    def states(self) -> dict[str, str]:
        """State of each lease, without the prefix."""
        prefix = "LEASE_STATE_"
        return {
            name: types_pb2.LeaseState.Name(lease.state).removeprefix(prefix)
            for name, lease in self.leases.items()
        }


class ScriptedBroker(agent_pb2_grpc.AgentServiceServicer):
    """The broker's side; `async with` starts and stops it on a port of its own."""

    def __init__(self) -> None:
        self.mark = types_pb2.StoreMark(identity="store-1", epoch=1, revision=1)
        self.want: dict[str, types_pb2.LeaseRecord] = {}
        self.activate = True
        self.next_sync_ms = 10_000
        self.least_gap_ms = 0
        self.want_full = False
        self.features = ["delta"]
        self.asked_for_whole = 0
        self.open_script: deque[Failure] = deque()
        self.sync_script: deque[Failure | agent_pb2.SyncResponse] = deque()
        self.watch_script: deque[Failure] = deque()
        self.on_open: Callable[[agent_pb2.OpenSessionRequest], None] = lambda _: None
        self.opened: list[agent_pb2.OpenSessionRequest] = []
        self.reports: list[Report] = []
        self.closed: list[agent_pb2.CloseSessionRequest] = []
        self.refusals: dict[str, str] = {}
        self.target = ""
        self._server = grpc.aio.server()
        self._sessions: dict[str, int] = {}
        self._parts: dict[str, list[agent_pb2.SyncRequest]] = {}
        self._last: dict[str, Report] = {}
        self._bells: dict[str, asyncio.Event] = {}
        self._happened = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.listen("127.0.0.1:0")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.hang_up()

    async def listen(self, target: str) -> None:
        """Listen, anew after `hang_up`."""
        self._server = grpc.aio.server()
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(target)
        await self._server.start()
        self.target = f"127.0.0.1:{port}"

    async def hang_up(self) -> None:
        """Stop listening and drop all connections."""
        await self._server.stop(None)

    def grant(self, record: types_pb2.LeaseRecord) -> None:
        """Want one more lease, and ring."""
        self.mark.revision += 1
        record.mark.CopyFrom(self.mark)
        self.want[record.lease_id] = record
        self.ring()

    def release(self, lease_id: str) -> None:
        """Want one lease less, and ring."""
        self.mark.revision += 1
        del self.want[lease_id]
        self.ring()

    def ring(self) -> None:
        """Ring all doorbells."""
        for bell in self._bells.values():
            bell.set()

    async def until(self, happened: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Wait until something is so; it is looked at after each call."""
        async with asyncio.timeout(deadline_s), self._happened:
            await self._happened.wait_for(happened)

    async def until_states(self, want: dict[str, str]) -> Report:
        """Wait until the last report shows exactly these states."""
        await self.until(lambda: bool(self.reports) and self.reports[-1].states() == want)
        return self.reports[-1]

    async def OpenSession(  # noqa: N802 - the contract's name
        self, request: agent_pb2.OpenSessionRequest, context: Context
    ) -> agent_pb2.OpenSessionResponse:
        self.opened.append(request)
        self.on_open(request)
        await self._tell()
        if self.open_script:
            await _fail(context, self.open_script.popleft())
        self._sessions[request.agent] = request.session
        self._parts[request.agent] = []
        return agent_pb2.OpenSessionResponse(
            mark=self.mark, broker_version="scripted", features=self.features
        )

    async def Sync(  # noqa: N802 - the contract's name
        self, request: agent_pb2.SyncRequest, context: Context
    ) -> agent_pb2.SyncResponse:
        scripted = self.sync_script.popleft() if self.sync_script else None
        if isinstance(scripted, Failure):
            await self._tell()
            await _fail(context, scripted)
        if request.session != self._sessions.get(request.agent):
            await _fail(context, Failure(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STALE"))
        before = self._parts[request.agent] if request.part else []
        parts = self._parts[request.agent] = [*before, request]
        if len(parts) < max(1, request.parts):
            return agent_pb2.SyncResponse(mark=self.mark, part_accepted=True)
        base = self._base_of(request)
        if request.delta and base is None:
            self.asked_for_whole += 1
            await self._tell()
            return agent_pb2.SyncResponse(mark=self.mark, want_full=True)
        report = self._last[request.agent] = Report(parts, base)
        answer = scripted or self._answer(report)
        self.reports.append(report)
        await self._tell()
        return answer

    def _base_of(self, request: agent_pb2.SyncRequest) -> Report | None:
        last = self._last.get(request.agent)
        if not request.delta or last is None:
            return None
        known = (last.head.session, last.head.sequence)
        return last if known == (request.session, request.base_sequence) else None

    async def WatchCommands(  # noqa: N802 - the contract's name
        self, request: agent_pb2.WatchCommandsRequest, context: Context
    ) -> AsyncIterator[agent_pb2.WatchCommandsResponse]:
        if self.watch_script:
            await _fail(context, self.watch_script.popleft())
        bell = self._bells.setdefault(request.agent, asyncio.Event())
        await self._tell()
        while True:
            await bell.wait()
            bell.clear()
            yield agent_pb2.WatchCommandsResponse(revision=self.mark.revision)

    async def CloseSession(  # noqa: N802 - the contract's name
        self,
        request: agent_pb2.CloseSessionRequest,
        context: Context,  # noqa: ARG002 - the contract's signature
    ) -> agent_pb2.CloseSessionResponse:
        self.closed.append(request)
        await self._tell()
        return agent_pb2.CloseSessionResponse()

    def _answer(self, report: Report) -> agent_pb2.SyncResponse:
        commands = [self._about(lease) for lease in report.leases.values()]
        commands += [
            agent_pb2.LeaseCommand(
                lease_id=lease_id, action=agent_pb2.LEASE_ACTION_ADMIT, record=record
            )
            for lease_id, record in self.want.items()
            if lease_id not in report.leases
        ]
        told = [command for command in commands if command is not None]
        if told:
            self.mark.revision += 1
        return agent_pb2.SyncResponse(
            mark=self.mark,
            commands=told,
            next_sync_ms=self.next_sync_ms,
            least_gap_ms=self.least_gap_ms,
            want_full=self.want_full,
        )

    def _about(self, lease: agent_pb2.HeldLease) -> agent_pb2.LeaseCommand | None:
        if lease.state == types_pb2.LEASE_STATE_REFUSED:
            self.refusals[lease.lease_id] = lease.reason
            self.want.pop(lease.lease_id, None)
        if lease.lease_id not in self.want or lease.state == types_pb2.LEASE_STATE_STOPPED:
            self.want.pop(lease.lease_id, None)
            return agent_pb2.LeaseCommand(
                lease_id=lease.lease_id, action=agent_pb2.LEASE_ACTION_REVOKE, reason="RELEASED"
            )
        if lease.state == types_pb2.LEASE_STATE_ADMITTED and self.activate:
            return agent_pb2.LeaseCommand(
                lease_id=lease.lease_id, action=agent_pb2.LEASE_ACTION_START
            )
        return None

    async def _tell(self) -> None:
        async with self._happened:
            self._happened.notify_all()


async def _fail(context: Context, failure: Failure) -> NoReturn:
    status = failure.status()
    await context.abort(status.code, status.details, status.trailing_metadata or ())
    raise AssertionError("abort raises")
