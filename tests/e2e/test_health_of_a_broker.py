"""grpc.health.v1 of a real broker: through warm-up, service and stop."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.processes import eventually

if TYPE_CHECKING:
    from support.local_pool import LocalPool

pytestmark = pytest.mark.timeout(150)

WITHIN_S = 60.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ("", "computepool.v1.AgentService", "computepool.v1.AllocationService")


async def read(watch: Any) -> int:
    """The next status that a watch tells."""
    answer = await watch.read()
    assert answer is not grpc.aio.EOF, "the watch has ended"
    return int(answer.status)


async def test_health_follows_warm_up_and_stop(pool: LocalPool) -> None:
    broker, region = pool.broker(warm_up_s="60", stop_grace_s="30"), pool.region("core-a")
    for daemon in (broker, region):
        daemon.start()
        await daemon.ready()
    region.kill()
    async with grpc.aio.insecure_channel(pool.target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        asked = [health_pb2.HealthCheckRequest(service=name) for name in SERVICES]
        watches = [stub.Watch(each, timeout=WITHIN_S) for each in asked]
        assert [await read(watch) for watch in watches] == [SERVING] * 3
        began = time.monotonic()
        broker.signal(signal.SIGTERM)
        assert [await read(watch) for watch in watches] == [NOT_SERVING] * 3
        assert [await watch.read() for watch in watches] == [grpc.aio.EOF] * 3
        assert await broker.ended() == 0
        assert time.monotonic() - began < 20, "watchers kept the broker for its whole grace"

    broker.start()
    await broker.ready()
    async with grpc.aio.insecure_channel(pool.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(asked[0], timeout=WITHIN_S)
        assert await read(watch) == NOT_SERVING
        assert (await stub.Check(asked[2], timeout=WITHIN_S)).status == NOT_SERVING
        region.start()
        assert await read(watch) == SERVING

        async def serves() -> bool:
            return bool((await stub.Check(asked[2], timeout=WITHIN_S)).status == SERVING)

        await eventually(serves, "all services serve")
