"""The calls of the protocol, and how a channel is set up: shared by both transports. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from computepool.v1 import allocation_pb2 as allocations
from computepool.v1 import inventory_pb2 as inventory

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

OPTIONS: Final = (
    # Pages of large gangs are larger than gRPC's own limit of 4 MiB.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A pool is spoken to directly; a web proxy of the environment would be in the way.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A connection whose other end has vanished is noticed in 15 s; brokers allow such pings.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # else a minute, whatever keepalive says
    # A pool that was closed takes no connection of a later one with it, nor its delays.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, eq=False, slots=True)
class Method(Generic[Q, A]):
    """One call: its path, and how its messages are written and read."""

    path: str
    write: Callable[[Q], bytes]
    read: Callable[[bytes], A]


def _allocation(name: str, request: type[Q], answer: type[A]) -> Method[Q, A]:
    path = f"/computepool.v1.AllocationService/{name}"
    return Method(path, request.SerializeToString, answer.FromString)


def _inventory(name: str, request: type[Q], answer: type[A]) -> Method[Q, A]:
    path = f"/computepool.v1.InventoryService/{name}"
    return Method(path, request.SerializeToString, answer.FromString)


CREATE: Final = _allocation(
    "CreateAllocation",
    allocations.CreateAllocationRequest,
    allocations.CreateAllocationResponse,
)
CREATE_MANY: Final = _allocation(
    "BatchCreateAllocations",
    allocations.BatchCreateAllocationsRequest,
    allocations.BatchCreateAllocationsResponse,
)
PREVIEW: Final = _allocation(
    "PreviewAllocation",
    allocations.PreviewAllocationRequest,
    allocations.PreviewAllocationResponse,
)
EXPLAIN: Final = _allocation(
    "ExplainAllocation",
    allocations.ExplainAllocationRequest,
    allocations.ExplainAllocationResponse,
)
GET: Final = _allocation(
    "GetAllocation", allocations.GetAllocationRequest, allocations.GetAllocationResponse
)
LIST: Final = _allocation(
    "ListAllocations", allocations.ListAllocationsRequest, allocations.ListAllocationsResponse
)
RENEW: Final = _allocation(
    "RenewAllocation", allocations.RenewAllocationRequest, allocations.RenewAllocationResponse
)
RENEW_MANY: Final = _allocation(
    "BatchRenewAllocations",
    allocations.BatchRenewAllocationsRequest,
    allocations.BatchRenewAllocationsResponse,
)
RELEASE: Final = _allocation(
    "ReleaseAllocation",
    allocations.ReleaseAllocationRequest,
    allocations.ReleaseAllocationResponse,
)
RELEASE_MANY: Final = _allocation(
    "BatchReleaseAllocations",
    allocations.BatchReleaseAllocationsRequest,
    allocations.BatchReleaseAllocationsResponse,
)
WATCH: Final = _allocation(
    "WatchAllocations",
    allocations.WatchAllocationsRequest,
    allocations.WatchAllocationsResponse,
)
VIEW: Final = _inventory("GetView", inventory.GetViewRequest, inventory.GetViewResponse)
WATCH_VIEW: Final = _inventory("WatchView", inventory.WatchViewRequest, inventory.WatchViewResponse)
CENTERS: Final = _inventory(
    "ListCenters", inventory.ListCentersRequest, inventory.ListCentersResponse
)
NODES: Final = _inventory("ListNodes", inventory.ListNodesRequest, inventory.ListNodesResponse)
AGENTS: Final = _inventory("ListAgents", inventory.ListAgentsRequest, inventory.ListAgentsResponse)
FORGET: Final = _inventory(
    "ForgetAgent", inventory.ForgetAgentRequest, inventory.ForgetAgentResponse
)
CORDON: Final = _inventory("Cordon", inventory.CordonRequest, inventory.CordonResponse)
UNCORDON: Final = _inventory("Uncordon", inventory.UncordonRequest, inventory.UncordonResponse)
DRAIN: Final = _inventory("Drain", inventory.DrainRequest, inventory.DrainResponse)
AUDIT: Final = _inventory("AuditPool", inventory.AuditPoolRequest, inventory.AuditPoolResponse)
