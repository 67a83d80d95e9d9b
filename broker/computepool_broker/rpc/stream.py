"""StreamAllocations: many calls over one stream, answered as they are done.

    read ──> pending ──one job for many──> writer ──durable──> ready ──one message for many──> write

Calls that have come go to the writer together: there is at most one job of a stream and a level
waiting to run, and it takes whatever is pending by then. (What wants no more than COMMITTED does
not wait for a disk with the rest.) Answers that are ready leave together. A call is
unanswered from its reading until its answer is written; with MAX_UNANSWERED, or fewer while
other streams have very many, nothing more is read, so a client that sends without reading fills
its own buffers, not ours.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import InvalidArgumentError, PoolError, StoppingError
from computepool_broker.rpc.sizes import MAX_REQUEST_BYTES, check_size
from computepool_broker.rpc.stream_calls import StreamCall, read_call, run_call
from computepool_broker.services.grants import Granted
from computepool_broker.services.levels import Level, unconfirmed
from computepool_broker.services.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.model.records import Allocation
    from computepool_broker.rpc import from_wire
    from computepool_broker.rpc.answers import Answers
    from computepool_broker.services.grants import Grants
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.waits import Waiter, Waits

    Context = grpc.aio.ServicerContext[Any, Any]
    Stage = Callable[[Transaction], Outcome]

MAX_STREAMS = 2_000
"""Open at once, over all clients."""
MAX_UNANSWERED = 1_000
MAX_UNANSWERED_TOGETHER = 50_000
"""Of all streams: each takes about 1 KiB. Beyond it no stream has more than LEAST_UNANSWERED."""
LEAST_UNANSWERED = 64
JOB_WEIGHT = 64
"""Of the calls that one job takes, in grants of one part; the others wait for the next one. One
that weighs more goes alone."""
WEIGHT = 32
"""What a job weighs, unless its first call weighs more: the others are not known before it runs.
About half of the most."""
MESSAGE_AMOUNTS = 3_000
"""Amounts (of a resource, of a device) in one message of answers, of 140 bytes at most each. The
last allocation may add 20,000 devices."""
ERROR_AMOUNTS = 20
"""What an error weighs: it has up to 2 KiB."""


class Unanswered:
    """Calls of all streams together that were read and have no answer yet."""

    def __init__(self) -> None:
        self.calls = 0

    def full(self, own: int) -> bool:
        """Whether a stream with so many of its own is to read no more now."""
        if own < LEAST_UNANSWERED:
            return False
        return own >= MAX_UNANSWERED or self.calls >= MAX_UNANSWERED_TOGETHER


class StreamParts(NamedTuple):
    """What all streams share."""

    pool: Pool
    grants: Grants
    waits: Waits
    specs: from_wire.SpecReader
    answers: Answers
    open: Watches
    unanswered: Unanswered


def stream_parts(
    pool: Pool, grants: Grants, waits: Waits, specs: from_wire.SpecReader, answers: Answers
) -> StreamParts:
    """What all streams of a broker share, with the counts of what they have open."""
    streams = Watches("streams of calls", MAX_STREAMS)
    return StreamParts(pool, grants, waits, specs, answers, streams, Unanswered())


class CallStream:
    """One stream, from its first message to its last."""

    def __init__(self, parts: StreamParts, context: Context) -> None:
        self._parts = parts
        self._context = context
        self._pending: dict[Level, list[StreamCall]] = {Level.COMMITTED: [], Level.DURABLE: []}
        self._jobs: dict[Level, asyncio.Future[Any]] = {}
        self._ready: list[tuple[StreamCall, Any]] = []
        self._unanswered = 0
        self._waiting: dict[asyncio.Task[None], dict[str, Waiter]] = {}
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._over = False

    async def run(self) -> None:
        """Serve until the client is done and everything is answered.

        Raises:
            InvalidArgumentError: Something came that is no message of this call.
            OverloadedError: Too many streams are open.
            StoppingError: The broker stops; what was read has been answered.
        """
        with self._parts.open.one():
            try:
                await self._serve()
            finally:
                self._parts.unanswered.calls -= self._unanswered

    async def _serve(self) -> None:
        reader = asyncio.create_task(self._read(), name="stream-reader")
        closing = asyncio.create_task(self._parts.pool.closing.wait(), name="stream-closing")
        reader.add_done_callback(lambda _: self._news.set())
        closing.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._write_ready()
                if closing.done():
                    reader.cancel()
                if (reader.done() or closing.done()) and not self._unanswered:
                    break
            if closing.done():
                raise StoppingError("the broker is stopping", retry_after_ms=1000)
            reader.result()
        finally:
            self._over = True
            for task in (reader, closing, *self._waiting):
                task.cancel()
            for job in self._jobs.values():
                job.cancel()
            if reader.done() and not reader.cancelled():
                reader.exception()  # seen: it matters only where nothing worse has happened

    # -- reading ---------------------------------------------------------------------------

    async def _read(self) -> None:
        context = self._context
        while True:
            while self._parts.unanswered.full(self._unanswered):
                self._room.clear()
                await self._room.wait()
            data = await context.read()
            if data is grpc.aio.EOF:
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        check_size(data, MAX_REQUEST_BYTES, wire.StreamAllocationsRequest.DESCRIPTOR)
        try:
            message = wire.StreamAllocationsRequest.FromString(data)
        except DecodeError as error:
            raise InvalidArgumentError("request", "is no message of this call") from error
        self._unanswered += 1
        self._parts.unanswered.calls += 1
        kind = message.WhichOneof("call") or "call"
        try:
            call = read_call(message, kind, self._parts)
        except PoolError as error:
            if isinstance(error, InvalidArgumentError) and kind != "call":
                error = error.within(kind)
            error.__traceback__ = error.__context__ = None  # they would keep frames and message
            self._answer(StreamCall(message.ticket, kind, None, 0.0, 1, {}), error)
            return
        self._pending[call.level.at_store].append(call)
        self._push(call.level.at_store)

    # -- the writer's job ------------------------------------------------------------------

    def _push(self, level: Level) -> None:
        """Have the writer take what is pending at a level, unless it is asked to already."""
        pending = self._pending[level]
        if level in self._jobs or not pending:
            return
        taken: list[StreamCall] = []
        try:
            job = self._parts.pool.committer.submit(
                lambda stage: self._run(stage, taken, level), max(WEIGHT, pending[0].weight), level
            )
        except PoolError as error:
            self._pending[level] = []
            for call in pending:
                self._answer(call, error)
            return
        self._jobs[level] = job
        job.add_done_callback(lambda done: self._ran(done, taken))

    def _run(self, stage: Stage, taken: list[StreamCall], level: Level) -> list[Any]:
        if not taken:  # else it was run before, and what came of that did not hold
            self._take_pending(taken, level)
        results = [run_call(stage, call) for call in taken]
        # Last: what is released makes room.
        creates = [call.create for call in taken if call.create is not None]
        made = iter(self._parts.grants.create_each(stage, creates))
        for at, call in enumerate(taken):
            if call.create is not None:
                results[at] = result = next(made)
                if call.wait_s > 0 and isinstance(result, Granted):
                    self._parts.waits.expect(result.allocation, call.waiting)
        self._push(level)
        return results

    def _take_pending(self, taken: list[StreamCall], level: Level) -> None:
        del self._jobs[level]  # from now on others may go into the next job
        pending, weight = self._pending[level], 0
        while len(taken) < len(pending):
            weight += pending[len(taken)].weight
            if weight > JOB_WEIGHT and taken:
                break
            taken.append(pending[len(taken)])
        del pending[: len(taken)]

    def _ran(self, done: asyncio.Future[list[Any]], taken: list[StreamCall]) -> None:
        """What the job did is durable, or nobody knows."""
        if done.cancelled() or self._over:
            if not done.cancelled():
                done.exception()  # seen: nobody is there to be told
            for call in taken:
                self._parts.waits.forget(call.waiting)
            return
        error = done.exception()
        results = [error] * len(taken) if error is not None else done.result()
        for call, result in zip(taken, results, strict=True):
            if call.looks_again and isinstance(result, Granted):
                task = asyncio.create_task(self._await_active(call, result))
                self._waiting[task] = call.waiting
                task.add_done_callback(self._waiting.pop)
            else:
                self._parts.waits.forget(call.waiting)
                self._answer(call, result)

    async def _await_active(self, call: StreamCall, made: Granted) -> None:
        waits, confirms = self._parts.waits, call.level is Level.CONFIRMED
        try:
            [reached] = await waits.reached([made], call.waiting, call.wait_s, call.level)
            missed = unconfirmed(reached.allocation, call.wait_s) if confirms else None
            self._answer(call, missed or reached)
        except PoolError as error:
            # It is granted all the same: how far it has come is for the client to ask.
            self._answer(call, error if confirms else made)
        finally:
            waits.forget(call.waiting)

    # -- answering -------------------------------------------------------------------------

    def _answer(self, call: StreamCall, result: object) -> None:
        self._ready.append((call, result))
        self._news.set()

    async def _write_ready(self) -> None:
        while self._ready:
            ready, self._ready = self._ready, []
            out, amounts = wire.StreamAllocationsResponse(), 0
            for at, (call, result) in enumerate(ready):
                amounts += self._fill(out.results.add(ticket=call.ticket), call, result)
                if amounts > MESSAGE_AMOUNTS:
                    self._ready[:0] = ready[at + 1 :]
                    break
            await self._context.write(out)
            self._unanswered -= len(out.results)
            self._parts.unanswered.calls -= len(out.results)
            self._room.set()

    def _fill(self, out: wire.StreamResult, call: StreamCall, result: Any) -> int:
        """Write one answer; the number of amounts in it, or what weighs as much."""
        answers = self._parts.answers
        if isinstance(result, BaseException):
            out.error.CopyFrom(answers.error(result))
            return ERROR_AMOUNTS
        allocation: Allocation
        if isinstance(result, Granted):
            allocation = result.allocation
            answers.fill_created(out.create, result, call.level)
        else:
            allocation = result
            answers.fill((out.renew if call.kind == "renew" else out.release).allocation, result)
        return sum([len(part.amounts) for part in allocation.parts])
