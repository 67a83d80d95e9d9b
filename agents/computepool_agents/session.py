"""The connection to the broker: AgentService over gRPC, its errors as the agent's own.

The only module that imports grpc. May import link, clock and the generated protos.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from computepool.v1 import agent_pb2_grpc
from computepool_agents.link import (
    Answer,
    LinkError,
    RejectedError,
    RetryableError,
    SessionStaleError,
    UnservedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from computepool.v1 import agent_pb2 as agent
    from computepool_agents.clock import Clock

OPEN_DEADLINE_S = 5.0
SYNC_DEADLINE_S = 20.0
CLOSE_DEADLINE_S = 2.0
DOORBELL_DEADLINE_S = 3600.0  # then it is opened anew, which loses nothing

MAX_MESSAGE_BYTES = 4 << 20
MAX_TEXT = 500  # of an error, in a log line
_STATUS_KEY = "grpc-status-details-bin"
_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A broker that hangs or is cut off is noticed in 15 s, with a report under way in 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # else a minute, whatever keepalive says
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name the least time that an attempt to connect is given.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A broker is spoken to directly; a web proxy of the environment would be in the way.
    ("grpc.enable_http_proxy", 0),
    # A new connection to a broker does not wait out the pauses of one given up.
    ("grpc.use_local_subchannel_pool", 1),
)
# A broker that says these of OpenSession will say them again.
_REJECTED_REASONS = frozenset(
    {"SESSION_STALE", "AGENT_NAME_TAKEN", "PROTOCOL_UNSUPPORTED", "EPOCH_IMPLAUSIBLE"}
)
_REJECTED_CODES = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED})
# What a broken connection, a broker that stops and one that has lost its store lead to.
_UNSERVED_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
    }
)


def connect(target: str) -> grpc.aio.Channel:
    """Make a channel to a broker; it connects by itself and again when it breaks.

    Args:
        target: "host:port".
    """
    return grpc.aio.insecure_channel(target, options=_OPTIONS)


class Channels:
    """The connections of a process by address: agents at the same broker share one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, tuple[grpc.aio.Channel, Session]] = {}
        self._users: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel, _ in self._open.values():
            await channel.close()
        self._open.clear()

    def take(self, address: str) -> Session:
        """Give the connection to "host:port"; see roaming.Lines."""
        if address not in self._open:
            channel = connect(address)
            self._open[address] = channel, Session(channel, self._clock)
        self._users[address] += 1
        return self._open[address][1]

    async def give_back(self, address: str) -> None:
        """Close the connection, unless other agents use it."""
        self._users[address] -= 1
        if not self._users[address]:
            del self._users[address]
            channel, _ = self._open.pop(address)
            await channel.close()


class Session:
    """A Link over a gRPC channel, which several agents of a process can share."""

    def __init__(self, channel: grpc.aio.Channel, clock: Clock) -> None:
        self._stub = agent_pb2_grpc.AgentServiceStub(channel)
        self._clock = clock

    async def open(self, request: agent.OpenSessionRequest) -> agent.OpenSessionResponse:
        """Begin a session; see Link."""
        try:
            return await self._stub.OpenSession(request, timeout=OPEN_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            reason, message = explain(error)
            if reason in _REJECTED_REASONS or error.code() in _REJECTED_CODES:
                raise RejectedError(reason, message) from error
            raise _retryable(error) from error

    async def report(self, parts: Sequence[agent.SyncRequest]) -> list[Answer]:
        """Deliver a report, part by part; see Link."""
        *first, last = parts
        for part in first:
            answer = await self._sync(part)
            if not answer.response.part_accepted:
                raise RetryableError("PART_NOT_ACCEPTED", f"part {part.part} of {part.parts}")
        answer = await self._sync(last)
        if answer.response.part_accepted:
            raise RetryableError("REPORT_NOT_COMPLETE", f"all {last.parts} parts were sent")
        return [answer]

    async def doorbell(self, request: agent.WatchCommandsRequest) -> AsyncIterator[int]:
        """Wait for rings; see Link."""
        call = self._stub.WatchCommands(request, timeout=DOORBELL_DEADLINE_S)
        try:
            async for ring in call:
                yield ring.revision
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:  # which is its own
                raise _session_error(error) from error
        finally:
            call.cancel()

    async def close(self, request: agent.CloseSessionRequest) -> None:
        """Say good-bye; see Link."""
        try:
            await self._stub.CloseSession(request, timeout=CLOSE_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            raise _session_error(error) from error

    async def _sync(self, part: agent.SyncRequest) -> Answer:
        sent_s = self._clock.now().at_s
        try:
            return Answer(await self._stub.Sync(part, timeout=SYNC_DEADLINE_S), sent_s)
        except grpc.aio.AioRpcError as error:
            raise _session_error(error) from error


def explain(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """Give an error's stable reason, or the name of its status, and its text, bounded."""
    reason: str = error.code().name
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_KEY and isinstance(value, bytes):
            reason = _reason(value) or reason
    return reason[:MAX_TEXT], (error.details() or "")[:MAX_TEXT]


def _reason(details: bytes) -> str:
    try:
        status = status_pb2.Status.FromString(details)
        info = error_details_pb2.ErrorInfo()
        for detail in status.details:
            if detail.Unpack(info):
                return str(info.reason)
    except DecodeError:
        return ""
    return ""


def _session_error(error: grpc.aio.AioRpcError) -> LinkError:
    reason, message = explain(error)
    if reason == "SESSION_STALE":
        return SessionStaleError(reason, message)
    return _retryable(error)


def _retryable(error: grpc.aio.AioRpcError) -> RetryableError:
    kind = UnservedError if error.code() in _UNSERVED_CODES else RetryableError
    return kind(*explain(error))
