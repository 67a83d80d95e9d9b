"""What the broker answered to the doctor's questions. Pure."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2, inventory_pb2

MOST_ALLOCATIONS: Final = 5_000


@dataclass(slots=True)
class Seen:
    """What the broker answered; `view` is None when it did not.

    Attributes:
        health: what it says of itself; empty when it has no such call.
        more_allocations: there are more than were looked at.
        audit: an audit of now; only asked for when the last one found something.
        looks: what each broker said of the equal brokers, in the order of the asking; the first
            was asked once more at the end. Empty where brokers do not know this call.
    """

    view: "inventory_pb2.GetViewResponse | None" = None
    agents: "list[inventory_pb2.Agent]" = field(default_factory=list)
    allocations: "list[allocation_pb2.Allocation]" = field(default_factory=list)
    more_allocations: bool = False
    audit: "inventory_pb2.AuditPoolResponse | None" = None
    health: str = ""
    looks: "list[Look]" = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Look:
    """What the broker at an endpoint says of the equal brokers."""

    endpoint: str
    answer: "inventory_pb2.ListBrokersResponse"
