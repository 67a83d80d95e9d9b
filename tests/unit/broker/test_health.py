"""grpc.health.v1 on a real server: who asks and who watches is told the truth, to the end."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from computepool_broker.rpc import health
from computepool_broker.rpc.server import bare_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAME = "computepool.v1.AllocationService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
WITHIN_S = 20.0


class Site:
    """A server that has nothing but its health, and a stub for it."""

    def __init__(self) -> None:
        self.health = health.Health([NAME])
        self.server = bare_server()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.stub: Any = None

    async def check(self, service: str = "") -> int:
        """What Check says."""
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await self.stub.Check(request, timeout=WITHIN_S)).status)

    def watch(self, service: str = "") -> Any:
        """A stream of what Watch says."""
        return self.stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=WITHIN_S)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{site.port}") as channel:
        site.stub = health_pb2_grpc.HealthStub(channel)
        yield site
    await site.server.stop(None)


@asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


async def test_a_new_broker_does_not_serve_until_it_says_so(site: Site) -> None:
    assert [await site.check(name) for name in ("", NAME)] == [NOT_SERVING] * 2
    site.health.set_serving(serving=True)
    assert [await site.check(name) for name in ("", NAME)] == [SERVING] * 2


async def test_a_service_that_is_not_there(site: Site) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await site.check("nobody")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert (await site.watch("nobody").read()).status == UNKNOWN


async def test_watchers_are_told_each_change_once(site: Site) -> None:
    watches = [site.watch(name) for name in ("", NAME)]
    for watch in watches:
        assert (await watch.read()).status == NOT_SERVING
    for serving, status in ((True, SERVING), (False, NOT_SERVING), (True, SERVING)):
        site.health.set_serving(serving=serving)
        site.health.set_serving(serving=serving)
        for watch in watches:
            assert (await watch.read()).status == status


async def test_a_stop_is_told_to_all_watchers_and_does_not_wait_out_the_grace(site: Site) -> None:
    site.health.set_serving(serving=True)
    watches = [site.watch(), site.watch(NAME), site.watch()]
    for watch in watches:
        assert (await watch.read()).status == SERVING
    async with at_most(health.LAST_WORD_S + 5):
        await site.health.close()
        await site.server.stop(30)
    for watch in watches:
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF


async def test_after_the_end_nothing_serves_any_more(site: Site) -> None:
    await site.health.close()
    site.health.set_serving(serving=True)
    assert await site.check() == NOT_SERVING


async def test_a_stop_at_once_tells_watchers_too(site: Site) -> None:
    """As when the store has failed: there is no grace."""
    site.health.set_serving(serving=True)
    watch = site.watch()
    assert (await watch.read()).status == SERVING
    await site.health.close()
    await site.server.stop(0)
    assert (await watch.read()).status == NOT_SERVING


async def test_watches_are_bounded_and_leave_no_trace(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MAX_WATCHES", 2)
    kept = [site.watch(), site.watch()]
    for watch in kept:
        await watch.read()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await site.watch().read()
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for watch in kept:
        watch.cancel()
    async with asyncio.timeout(WITHIN_S):
        while site.health._watches:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.01)
    assert (await site.watch().read()).status == NOT_SERVING
