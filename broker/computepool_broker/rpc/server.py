"""Builds the gRPC server: options, limits, interceptors, health, reflection."""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from computepool.v1 import (
    agent_pb2,
    agent_pb2_grpc,
    allocation_pb2,
    allocation_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
)
from computepool_broker.rpc import health
from computepool_broker.rpc.backlog import shorten
from computepool_broker.rpc.interceptor import CallInterceptor
from computepool_broker.rpc.sizes import MAX_MESSAGE_BYTES
from computepool_broker.services.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from computepool_broker.rpc.agent import AgentServicer
    from computepool_broker.rpc.allocation import AllocationServicer
    from computepool_broker.rpc.inventory import InventoryServicer

MAX_STREAMS_PER_CONNECTION = 1_024
KEEPALIVE_MS = 30_000
LEAST_PING_MS = 5_000
MAX_METADATA_BYTES = 16 * 1024
STREAM_WINDOW_BYTES = 256 * 1024
MAX_CONNECTIONS = 20_000
SPARE_FILES = 128
"""Open files that connections leave to the store, the log and figures."""

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    # What a client sends and we do not read yet is bounded: grown windows would take megabytes
    # of every stream.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", STREAM_WINDOW_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # else a minute, whatever keepalive says
    # Agents ping every 10 s also when idle: the default would close their connections.
    ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # Two brokers on one port would split the agents between them, each with half a view.
    ("grpc.so_reuseport", 0),
)
SERVICES = (
    agent_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name,
    allocation_pb2.DESCRIPTOR.services_by_name["AllocationService"].full_name,
    inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"].full_name,
)


def bare_server(tally: Tally | None = None, *, log_calls: bool = False) -> grpc.aio.Server:
    """A server with our options and interceptors and no services (benchmarks measure on it)."""
    return _server(CallInterceptor(tally or Tally(), log_calls=log_calls))


def _server(interceptor: CallInterceptor) -> grpc.aio.Server:
    options = (*OPTIONS, ("grpc.max_allowed_incoming_connections", most_connections()))
    return grpc.aio.server(interceptors=[interceptor], options=options)


def most_connections() -> int:
    """How many connections may be open: each takes a file, and the store must find some free."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, files - SPARE_FILES))


def _why_not(host: str, port: int) -> str:
    """Why an address cannot be listened on, which gRPC does not say; empty if now it can."""
    try:
        with socket.create_server((host.strip("[]"), port), family=_family(host)):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class BrokerServer:
    """The server with all services. Health says NOT_SERVING while the broker warms up."""

    def __init__(
        self,
        interceptor: CallInterceptor,
        agents: AgentServicer,
        allocations: AllocationServicer,
        inventory: InventoryServicer,
    ) -> None:
        self._interceptor = interceptor
        self._server = _server(interceptor)
        self._health = health.Health(SERVICES)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(agents, self._server)
        allocation_pb2_grpc.add_AllocationServiceServicer_to_server(allocations, self._server)
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(inventory, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: The address cannot be listened on.
        """
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            why = _why_not(host, port) or str(error)
            raise OSError(
                f"cannot listen on {host}:{port}: {why}; name another with --listen"
                " (port 0: a free one)"
            ) from error
        await self._server.start()
        shorten(bound)
        return bound

    def set_serving(self, *, serving: bool) -> None:
        """What health says, of the broker as a whole ("") and of each service."""
        self._health.set_serving(serving=serving)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let the running ones end within `grace_s` seconds."""
        await self._health.close()
        await self._interceptor.wind_down()
        await self._server.stop(grace_s)
