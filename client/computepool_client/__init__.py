"""The Python SDK of a pool of computing power, and the command in `cli`.

    from computepool_client import Pool

    with Pool("127.0.0.1:7600") as pool:
        with pool.allocate(gpus=4, model=["A100", "H800"], ttl="10m") as lease:
            print(lease.node, [device.id for device in lease.devices])

`AsyncPool` is the same for asyncio. Nothing is loaded before it is used: importing
this package imports neither gRPC nor the generated code.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from computepool_client.aio import AsyncPool
    from computepool_client.aio_lease import AsyncLease, AsyncLeases
    from computepool_client.errors import (
        AckLevelUnavailableError,
        AllocationFailedError,
        ClosedError,
        DeadlinePassedError,
        FieldViolation,
        InvalidRequestError,
        LeaseLostError,
        NoAnswerError,
        NoRoomError,
        NotAcknowledgedError,
        NotActiveError,
        NotFoundError,
        NotReadyError,
        OutcomeUnknownError,
        PoolError,
        UnreachableError,
        WrongStateError,
    )
    from computepool_client.explanations import AllocationEvent, Changes, Explanation
    from computepool_client.inventory import (
        Agent,
        AgentState,
        Amounts,
        Audit,
        Center,
        DrainProgress,
        Finding,
        Node,
        NodeDevice,
        PoolState,
        Region,
        View,
    )
    from computepool_client.lease import Lease, Leases
    from computepool_client.pool import Pool
    from computepool_client.values import (
        AckLevel,
        Allocation,
        AllocationState,
        CenterRefusal,
        Device,
        EndReason,
        NearestFit,
        Part,
        PartState,
        Preview,
        Refusal,
        Resources,
        Spec,
    )

__all__ = [
    "AckLevel",
    "AckLevelUnavailableError",
    "Agent",
    "AgentState",
    "Allocation",
    "AllocationEvent",
    "AllocationFailedError",
    "AllocationState",
    "Amounts",
    "AsyncLease",
    "AsyncLeases",
    "AsyncPool",
    "Audit",
    "Center",
    "CenterRefusal",
    "Changes",
    "ClosedError",
    "DeadlinePassedError",
    "Device",
    "DrainProgress",
    "EndReason",
    "Explanation",
    "FieldViolation",
    "Finding",
    "InvalidRequestError",
    "Lease",
    "LeaseLostError",
    "Leases",
    "NearestFit",
    "NoAnswerError",
    "NoRoomError",
    "Node",
    "NodeDevice",
    "NotAcknowledgedError",
    "NotActiveError",
    "NotFoundError",
    "NotReadyError",
    "OutcomeUnknownError",
    "Part",
    "PartState",
    "Pool",
    "PoolError",
    "PoolState",
    "Preview",
    "Refusal",
    "Region",
    "Resources",
    "Spec",
    "UnreachableError",
    "View",
    "WrongStateError",
]

# Those that load gRPC; all others are in one of the plain modules.
_MODULES = {
    "AsyncLease": "aio_lease",
    "AsyncLeases": "aio_lease",
    "AsyncPool": "aio",
    "Lease": "lease",
    "Leases": "lease",
    "Pool": "pool",
}
_PLAIN = ("errors", "values", "inventory", "explanations")


if not TYPE_CHECKING:  # a checker would believe that every name is there

    def __getattr__(name: str) -> object:
        """Loads a name where it is first asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        places = (_MODULES[name],) if name in _MODULES else _PLAIN
        found = (vars(import_module(f"{__name__}.{place}")) for place in places)
        value = next(names[name] for names in found if name in names)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
