"""What happens around every call, on a real server: counting, naming, logging."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import structlog
from structlog.testing import capture_logs

from computepool_broker.errors import NotFoundError
from computepool_broker.rpc.interceptor import LARGE_AT_ONCE
from computepool_broker.rpc.server import bare_server
from computepool_broker.rpc.sizes import LARGE_BYTES
from computepool_broker.services.tally import Tally
from support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LARGE = b"l" * (LARGE_BYTES + 1)

log = structlog.get_logger()


class Wire:
    """A server with one handler of each kind, and a channel to it."""

    def __init__(self, *, log_calls: bool = False) -> None:
        self.tally = Tally()
        self.hold = asyncio.Event()
        self.read: list[int] = []
        self.server = bare_server(self.tally, log_calls=log_calls)
        handlers: Any = {
            "One": grpc.unary_unary_rpc_method_handler(self._one),
            "Sync": grpc.unary_unary_rpc_method_handler(self._sync, self._read),
            "Many": grpc.unary_stream_rpc_method_handler(self._many),
            "Both": grpc.stream_stream_rpc_method_handler(self._both),
        }
        generic = grpc.method_handlers_generic_handler("t.T", handlers)
        self.server.add_generic_rpc_handlers((generic,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def _read(self, data: bytes) -> bytes:
        self.read.append(len(data))
        return data

    async def _sync(self, request: bytes, _: Any) -> bytes:
        if request.startswith(b"bug"):
            raise KeyError("hidden")
        await self.hold.wait()
        return request[:1]

    async def _one(self, request: bytes, context: Any) -> bytes:
        if request == b"missing":
            raise NotFoundError("no such thing")
        if request == b"bug":
            raise KeyError("hidden")
        if request == b"abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "by hand")
        if request == b"wait":
            await self.hold.wait()
        log.debug("within", request=request.decode())
        return request

    async def _many(self, request: bytes, _: Any) -> AsyncIterator[bytes]:
        yield request
        if request == b"missing":
            raise NotFoundError("no such thing")
        await self.hold.wait()

    async def _both(self, _: Any, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            if message == b"missing":
                raise NotFoundError("no such thing")
            await context.write(message)

    def ended(self, method: str) -> dict[str, int]:
        """Calls of a method by status code."""
        return self.tally.calls[f"/t.T/{method}"].ended


@asynccontextmanager
async def serving(wire: Wire) -> AsyncIterator[grpc.aio.Channel]:
    await wire.server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{wire.port}") as channel:
            yield channel
    finally:
        wire.hold.set()
        await wire.server.stop(None)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def test_unary_calls_count_by_status_and_errors_by_reason() -> None:
    wire = Wire()
    async with serving(wire) as channel:
        one: Any = channel.unary_unary("/t.T/One")
        assert await one(b"x") == b"x"
        assert await one(b"y") == b"y"
        for request in (b"missing", b"bug", b"abort"):
            await failure(one(request))
        assert wire.ended("One") == {"OK": 2, "NOT_FOUND": 1, "INTERNAL": 1, "DATA_LOSS": 1}
        assert wire.tally.errors.by_name == {"NOT_FOUND": 1, "INTERNAL": 1}
        calls = wire.tally.calls["/t.T/One"]
        assert calls.open == 0
        assert sum(calls.seconds.bucketed().counts) == 5


async def test_calls_that_are_given_up_count_as_cancelled() -> None:
    wire = Wire()
    async with serving(wire) as channel:
        one: Any = channel.unary_unary("/t.T/One")
        given_up = one(b"wait")

        async def is_open() -> bool:
            calls = wire.tally.calls.get("/t.T/One")
            return calls is not None and calls.open == 1

        await eventually(is_open, "the call has begun")
        given_up.cancel()
        assert (await failure(one(b"wait", timeout=0.2))).code() is (
            grpc.StatusCode.DEADLINE_EXCEEDED
        )

        async def both_ended() -> bool:
            return wire.ended("One") == {"CANCELLED": 2}

        await eventually(both_ended, "both have ended")
        assert wire.tally.calls["/t.T/One"].open == 0


async def test_large_reports_are_read_a_few_at_a_time() -> None:
    wire = Wire()
    async with serving(wire) as channel:
        sync: Any = channel.unary_unary("/t.T/Sync")
        large = [asyncio.create_task(whole(sync, LARGE)) for _ in range(2 * LARGE_AT_ONCE)]
        await eventually(has_open(wire, len(large)), "all calls have come")
        small = asyncio.create_task(whole(sync, b"s" * LARGE_BYTES))
        await eventually(has_open(wire, len(large) + 1), "the small one has come too")
        assert sorted(wire.read) == [LARGE_BYTES] + [len(LARGE)] * LARGE_AT_ONCE
        wire.hold.set()
        assert await asyncio.gather(*large, small) == [b"l"] * len(large) + [b"s"]
        assert len(wire.read) == len(large) + 1


async def test_turns_of_those_who_gave_up_or_failed_go_to_others() -> None:
    wire = Wire()
    async with serving(wire) as channel:
        sync: Any = channel.unary_unary("/t.T/Sync")
        given_up = [asyncio.create_task(whole(sync, LARGE)) for _ in range(2 * LARGE_AT_ONCE)]
        await eventually(has_open(wire, len(given_up)), "all calls have come")
        for task in given_up:
            task.cancel()
        for _ in range(2 * LARGE_AT_ONCE):
            assert (await failure(sync(b"bug" + LARGE))).code() is grpc.StatusCode.INTERNAL
        wire.hold.set()
        assert await sync(LARGE) == b"l"


def has_open(wire: Wire, count: int) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        calls = wire.tally.calls.get("/t.T/Sync")
        return calls is not None and calls.open == count

    return probe


async def whole(sync: Any, data: bytes) -> bytes:
    answer: bytes = await sync(data)
    return answer


async def test_streams_are_open_until_they_end() -> None:
    wire = Wire()
    async with serving(wire) as channel:
        many: Any = channel.unary_stream("/t.T/Many")
        both: Any = channel.stream_stream("/t.T/Both")
        reading, talking = many(b"x"), both()
        assert await reading.read() == b"x"
        await talking.write(b"a")
        assert await talking.read() == b"a"
        calls = wire.tally.calls
        assert (calls["/t.T/Many"].open, calls["/t.T/Both"].open) == (1, 1)
        wire.hold.set()
        assert await reading.read() is grpc.aio.EOF
        await talking.done_writing()
        assert await talking.read() is grpc.aio.EOF
        assert (wire.ended("Many"), wire.ended("Both")) == ({"OK": 1}, {"OK": 1})
        assert (calls["/t.T/Many"].open, calls["/t.T/Both"].open) == (0, 0)
        assert not sum(calls["/t.T/Many"].seconds.bucketed().counts)


async def test_streams_that_fail_count_by_reason() -> None:
    wire = Wire()
    async with serving(wire) as channel:
        many: Any = channel.unary_stream("/t.T/Many")
        both: Any = channel.stream_stream("/t.T/Both")
        reading, talking = many(b"missing"), both()
        assert await reading.read() == b"missing"
        assert (await failure(reading.read())).code() is grpc.StatusCode.NOT_FOUND
        await talking.write(b"missing")
        await failure(talking.read())
        assert wire.ended("Many") == {"NOT_FOUND": 1}
        assert wire.ended("Both") == {"NOT_FOUND": 1}
        assert wire.tally.errors.by_name == {"NOT_FOUND": 2}


async def test_methods_that_are_not_there_are_not_counted() -> None:
    wire = Wire()
    async with serving(wire) as channel:
        for number in range(20):
            nowhere: Any = channel.unary_unary(f"/t.T/Nowhere{number}")
            assert (await failure(nowhere(b""))).code() is grpc.StatusCode.UNIMPLEMENTED
        assert not wire.tally.calls


@pytest.mark.parametrize(
    ("given", "repeated"),
    [
        ("job-17/step 3", "job-17/step 3"),
        ("x" * 128, "x" * 128),
        ("x" * 129, None),
        ("", None),
        (None, None),
    ],
)
async def test_a_failing_call_repeats_the_callers_name_for_it(
    given: str | None, repeated: str | None
) -> None:
    wire = Wire()
    async with serving(wire) as channel:
        one: Any = channel.unary_unary("/t.T/One")
        metadata = () if given is None else (("x-request-id", given),)
        for request in (b"missing", b"bug"):
            error = await failure(one(request, metadata=metadata))
            told = dict(error.trailing_metadata() or ())
            assert told.get("x-request-id") == repeated
            assert "grpc-status-details-bin" in told


async def test_a_bug_is_logged_with_the_callers_name_for_the_call() -> None:
    wire = Wire()
    with capture_logs() as lines:
        async with serving(wire) as channel:
            one: Any = channel.unary_unary("/t.T/One")
            await failure(one(b"bug", metadata=(("x-request-id", "job-17"),)))
    bug = next(each for each in lines if each["event"] == "internal_error")
    assert bug["x_request_id"] == "job-17"
    assert bug["exc_info"] is not None


async def test_calls_are_logged_only_when_asked_for() -> None:
    wire = Wire()
    with capture_logs() as lines:
        async with serving(wire) as channel:
            one: Any = channel.unary_unary("/t.T/One")
            await one(b"x")
    assert not [each for each in lines if each["event"] == "call"]


async def test_every_line_of_a_call_has_its_callers_name_and_no_other() -> None:
    wire = Wire(log_calls=True)
    merge = [structlog.contextvars.merge_contextvars]
    with capture_logs(processors=merge) as lines:
        async with serving(wire) as channel:
            one: Any = channel.unary_unary("/t.T/One")
            named = [one(b"n%d" % n, metadata=(("x-request-id", f"id-{n}"),)) for n in range(8)]
            await asyncio.gather(*named, one(b"nameless"))
    within = {
        each["request"]: each.get("x_request_id") for each in lines if each["event"] == "within"
    }
    assert within == {f"n{n}": f"id-{n}" for n in range(8)} | {"nameless": None}
    calls = [each for each in lines if each["event"] == "call"]
    assert sorted(str(each.get("x_request_id")) for each in calls) == sorted(
        [*(f"id-{n}" for n in range(8)), "None"]
    )
    assert all(each["code"] == "OK" and each["took_ms"] > 0 for each in calls)
