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
    """

    view: "inventory_pb2.GetViewResponse | None" = None
    agents: "list[inventory_pb2.Agent]" = field(default_factory=list)
    allocations: "list[allocation_pb2.Allocation]" = field(default_factory=list)
    more_allocations: bool = False
    audit: "inventory_pb2.AuditPoolResponse | None" = None
    health: str = ""
