"""A broker to throw bytes at, and what must hold whatever was thrown.

The real servicers behind the real interceptor, over a store in memory, with a small pool: called
in process, in virtual time, or over a real socket. After every call: the answer is one, or an
error that the table has; the books balance; nobody is left waiting.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import asynccontextmanager
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from structlog.testing import capture_logs

from computepool.v1 import agent_pb2_grpc, allocation_pb2_grpc, inventory_pb2_grpc
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.rpc.allocation import AllocationServicer
from computepool_broker.rpc.bulk import BulkCalls
from computepool_broker.rpc.errors import CODES, CODES_OF_KINDS, DOMAIN, MAX_MESSAGE
from computepool_broker.rpc.explain import ExplainCalls
from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.rpc.interceptor import CallInterceptor
from computepool_broker.rpc.inventory import InventoryServicer
from computepool_broker.rpc.server import bare_server
from computepool_broker.rpc.sizes import MAX_MESSAGE_BYTES
from computepool_broker.rpc.stream import stream_parts
from computepool_broker.services.ids import AllocationIds
from support.broker_kit import BrokerKit
from support.builders import make_node, make_spec
from support.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from computepool_broker.model.records import NodeRecord

ANSWER_S = 120.0
"""Of virtual time: twice the longest that any call may wait."""
LISTEN_S = 3.0
"""For which a stream without an end is listened to."""
MOST_HEARD = 8
LONG = 300
"""Bytes: longer messages, which mostly repeat themselves, are shown packed."""
SECONDS_LEFT = (None, 0.0, 0.05, 30.0)
"""What a call's deadline may leave."""


REAL_S = 0.1
"""The deadline of calls over a socket."""
SETTLE_S = 10.0
CLIENTS_OWN = "Internal error from Core"
"""What gRPC's client says, instead of the status, when a stream ends while it still sends."""
GRPCS_OWN = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Case(NamedTuple):
    """One call: its full name, its messages, what its deadline leaves (see SECONDS_LEFT)."""

    method: str
    messages: tuple[bytes, ...]
    left_s: float | None = None

    def __repr__(self) -> str:
        """As it is written into a regression test."""
        shown = ", ".join(map(_shown, self.messages))
        return f'Case("{self.method}", ({shown},), {self.left_s})'


def _shown(data: bytes) -> str:
    packed = zlib.compress(data, 9)
    if len(data) < LONG or len(packed) > len(data) // 2:
        return f'bytes.fromhex("{data.hex()}")'
    return f'zlib.decompress(bytes.fromhex("{packed.hex()}"))'


class Handlers:
    """What a server would call, by the full name of the method."""

    def __init__(self, interceptor: CallInterceptor) -> None:
        self._interceptor = interceptor
        self._plain: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """See grpc.Server; the same handlers come by add_registered_method_handlers."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """See grpc.Server."""
        self._plain |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    @property
    def names(self) -> list[str]:
        """All methods."""
        return sorted(self._plain)

    async def of(self, method: str) -> Any:
        """The handler behind the interceptor."""

        async def continuation(_: Any) -> Any:
            return self._plain[method]

        class Details:
            invocation_metadata = ()

        details: Any = Details()
        details.method = method
        return await self._interceptor.intercept_service(continuation, details)


class Context:
    """The part of grpc.aio.ServicerContext that the broker uses; a client that reads all."""

    def __init__(self, messages: Sequence[bytes], left_s: float | None) -> None:
        self._messages = list(messages)
        self._left_s = left_s
        self.written: list[Any] = []
        self.status: tuple[grpc.StatusCode, str, Any] | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", "fuzz"),)

    def time_remaining(self) -> float | None:
        return self._left_s

    def code(self) -> grpc.StatusCode | None:
        return self.status and self.status[0]

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        self.status = (code, details, trailing)
        raise grpc.aio.AbortError

    async def read(self) -> Any:
        await asyncio.sleep(0)
        return self._messages.pop(0) if self._messages else grpc.aio.EOF

    async def write(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.written.append(message)


class FuzzBroker:
    """See the module."""

    def __init__(self, kit: BrokerKit) -> None:
        self.kit = kit
        pool, specs, answers = kit.pool, SpecReader(), kit.answers
        streams = stream_parts(pool, kit.grants, kit.waits, specs, answers)
        self.streams, self.unanswered = streams.open, streams.unanswered
        self.servicers = (
            kit.wire,
            AllocationServicer(
                kit.allocations,
                ExplainCalls(kit.explanations, pool, specs, answers),
                BulkCalls(kit.bulk, specs, answers),
                streams,
                kit.lists,
                kit.watches,
            ),
            InventoryServicer(kit.inventory, kit.agents, kit.auditor, pool, kit.lists, kit.watches),
        )
        self.interceptor = CallInterceptor(pool.tally, log_calls=True)
        self.handlers = Handlers(self.interceptor)
        self.serve_on(self.handlers)

    def serve_on(self, server: Any) -> None:
        """Add the services to a server."""
        agents, allocations, inventory = self.servicers
        agent_pb2_grpc.add_AgentServiceServicer_to_server(agents, server)
        allocation_pb2_grpc.add_AllocationServiceServicer_to_server(allocations, server)
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(inventory, server)

    # -- in process --------------------------------------------------------------------------

    async def call(self, case: Case) -> None:
        """Make one call to its end, and look at everything after it."""
        handler = await self.handlers.of(case.method)
        context = Context(case.messages, case.left_s)
        try:
            async with asyncio.timeout(ANSWER_S):
                answers = await self._answers(handler, case, context)
        except TimeoutError:
            raise AssertionError(f"no answer within {ANSWER_S:g} s") from None
        if context.status is not None:
            check_status(*context.status)
        for answer in answers:
            data = answer if isinstance(answer, bytes) else answer.SerializeToString()
            assert len(data) <= MAX_MESSAGE_BYTES, f"an answer of {len(data)} bytes"
            assert b"internal error" not in data
        self.check()

    async def _answers(self, handler: Any, case: Case, context: Context) -> list[Any]:
        """What a call is answered with; nothing when it is refused."""
        try:
            if handler.unary_unary is not None:
                return [await handler.unary_unary(case.messages[0], context)]
            if handler.stream_stream is not None:
                await handler.stream_stream(None, context)
                return context.written
            return await _listened(handler.unary_stream(case.messages[0], context))
        except grpc.aio.AbortError:
            assert context.status is not None
            return []

    # -- over a socket ---------------------------------------------------------------------

    async def call_over(self, channel: grpc.aio.Channel, case: Case) -> None:
        """Make one call as a client does, and look at everything after it."""
        handler = await self.handlers.of(case.method)
        name, left_s = case.method, REAL_S if case.left_s is None else min(REAL_S, case.left_s)
        wire: Any = channel
        if handler.unary_unary is not None:
            call: Any = wire.unary_unary(name)(case.messages[0], timeout=left_s)
        elif handler.stream_stream is not None:
            call = wire.stream_stream(name)(iter(case.messages), timeout=left_s)
        else:
            call = wire.unary_stream(name)(case.messages[0], timeout=left_s)
        try:
            await (call if handler.unary_unary is not None else _heard(call))
        except grpc.aio.AioRpcError as error:
            overtaken = handler.stream_stream is not None and error.details() == CLIENTS_OWN
            if error.code() not in GRPCS_OWN and not overtaken:
                check_status(
                    error.code(), error.details() or "", list(error.trailing_metadata() or ())
                )
        except asyncio.CancelledError:
            # gRPC's own client gives up a stream when it ends while it still writes to it.
            task = asyncio.current_task()
            if handler.stream_stream is None or task is None or task.cancelling():
                raise
        call.cancel()
        await self._settle()

    async def _settle(self) -> None:
        """Wait until all is as it must be: a call ends for its client before it does here."""
        deadline = monotonic() + SETTLE_S
        while True:
            try:
                self.check()
            except AssertionError:
                if monotonic() > deadline:
                    raise
                await asyncio.sleep(0.005)
            else:
                return

    # -- what must hold ----------------------------------------------------------------------

    def check(self) -> None:
        """What must hold between calls."""
        kit = self.kit
        pool = kit.pool
        assert not check_invariants(pool.state, pool.columns)
        assert not kit.failures
        assert not pool.waiters, "somebody is still waited for"
        assert pool.committer.queued == 0
        open_now = {name: c.open for name, c in pool.tally.calls.items() if c.open}
        assert not open_now, "calls are counted as open"
        assert self.streams.open == kit.watches.open.open == kit.watches.draining.open == 0
        assert self.interceptor._under_way.calls == self.unanswered.calls == 0
        assert "INTERNAL" not in pool.tally.errors.by_name


async def _heard(call: Any) -> None:
    """All messages of a stream, until its deadline."""
    async for _ in call:
        pass


async def _listened(source: Any) -> list[Any]:
    """The first messages of a stream, until it ends, or says nothing for a while."""
    heard: list[Any] = []
    try:
        async with asyncio.timeout(LISTEN_S):
            async for message in source:
                heard.append(message)
                if len(heard) == MOST_HEARD:
                    break
    except TimeoutError:
        pass
    finally:
        await source.aclose()
    return heard


def check_status(code: grpc.StatusCode, text: str, trailing: Any) -> None:
    """That an error is one of the table's, with its reason, and small."""
    packed = dict(trailing).get("grpc-status-details-bin")
    assert packed, f"no details: {code.name}: {text}"
    status = status_pb2.Status.FromString(packed)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    kinds = {detail.TypeName().rpartition(".")[2]: detail for detail in status.details}
    assert kinds["ErrorInfo"].Unpack(info)
    assert info.domain == DOMAIN
    assert info.reason in CODES, f"{info.reason}: {text}"
    kinds_of = {of for kind, of in CODES_OF_KINDS.items() if kind.reason == info.reason}
    assert code.name in {code_pb2.Code.Name(of) for of in {CODES[info.reason], *kinds_of}}
    assert text
    assert len(text) <= MAX_MESSAGE
    assert text.isprintable(), f"what does not print is told: {text!r}"
    # Trailers over 8 KiB are dropped by some clients, and the status with them.
    assert len(packed) <= 6 * 1024, f"{len(packed)} bytes of details"
    if info.reason == "INVALID_FIELD":
        assert kinds["BadRequest"].Unpack(bad)
        assert bad.field_violations[0].field


NODES: tuple[NodeRecord, ...] = (
    make_node("n1", gpus=2, cpu=8, extras={"seats": 3}, labels={"k": "v"}),
    make_node("n2", gpus=1, model="A100-SXM", cpu=4),
    make_node("n3", agent="a2", center="c2", gpus=4, cpu=8),
)

_ids = AllocationIds(Random(1).getrandbits)
ALLOCATIONS = tuple(_ids.next(1_000_000) for _ in range(3))
"""The names of what is there: they follow from the kit's clock and chance."""


@asynccontextmanager
async def fuzz_broker() -> AsyncIterator[FuzzBroker]:
    """A small pool with three allocations: one all are awaited, the last is on its way out."""
    kit = BrokerKit(MemoryStore())
    await kit.start()
    await kit.join(*NODES)
    active = await kit.create(make_spec(gpus=1, centers=["c1"]), "r-1")
    await kit.create(make_spec(cpu=1, count=2), "r-2")
    ended = await kit.create(make_spec(milli=300, centers=["c2"]), "r-3")
    await kit.allocations.release(ended.id, "", "")
    assert (active.id, ended.id) == (ALLOCATIONS[0], ALLOCATIONS[2])
    try:
        yield FuzzBroker(kit)
    finally:
        kit.agents.hang_up()
        await kit.stop()


async def play(cases: Sequence[Case]) -> None:
    """Make these calls one after the other on a new broker."""
    with capture_logs() as lines:
        async with fuzz_broker() as broker:
            for case in cases:
                await broker.call(case)
    bad = [line for line in lines if line["log_level"] in ("error", "critical")]
    assert not bad, bad


async def play_over(cases: Sequence[Case]) -> None:
    """The same over a real socket, in real time."""
    with capture_logs() as lines:
        async with fuzz_broker() as broker:
            on = bare_server(broker.kit.pool.tally)
            broker.serve_on(on)
            port = on.add_insecure_port("127.0.0.1:0")
            await on.start()
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                    for case in cases:
                        await broker.call_over(channel, case)
            finally:
                await on.stop(None)
    bad = [line for line in lines if line["log_level"] in ("error", "critical")]
    assert not bad, bad
