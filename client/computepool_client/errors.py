"""What can go wrong when a client asks the pool, as typed exceptions.

Imports nothing that does I/O. A reason is a stable upper-case word; which exit
status or which retry follows from an error is for its catcher to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that the broker does not take."""

    field: str
    description: str


@dataclass(eq=False)
class PoolError(Exception):
    """Any failure of a call to the pool.

    Attributes:
        message: for people, in one sentence.
        reason: the stable word, such as "LEASE_ENDED".
        metadata: what the broker adds to the reason.
        retry_after_s: the broker's hint when to try again, in seconds; None
            without one.
    """

    message: str
    reason: str = "UNKNOWN"
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return self.message


@dataclass(eq=False)
class InvalidRequestError(PoolError):
    """The request is malformed; `fields` says where."""

    fields: tuple[FieldViolation, ...] = ()


@dataclass(eq=False)
class NoRoomError(PoolError):
    """No center has room for it now; `refusal` says why, center by center."""

    wire_refusal: "allocation_pb2.Refusal | None" = None


@dataclass(eq=False)
class NotFoundError(PoolError):
    """There is nothing of this name."""


@dataclass(eq=False)
class WrongStateError(PoolError):
    """What is asked for contradicts the present state of the pool."""


@dataclass(eq=False)
class UnreachableError(PoolError):
    """No broker answers at the endpoint; the call has not been served."""


@dataclass(eq=False)
class NotReadyError(PoolError):
    """The broker answers that it cannot serve this now; try again later."""


@dataclass(eq=False)
class OutcomeUnknownError(PoolError):
    """Whether it was done is not known; repeat it with the same request_id."""


@dataclass(eq=False)
class NoAnswerError(OutcomeUnknownError):
    """The deadline passed, or the connection broke, before the answer came."""
