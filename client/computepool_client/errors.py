"""What can go wrong when a client asks the pool, as typed exceptions.

Imports nothing that does I/O. A reason is a stable upper-case word; which exit
status or which retry follows from an error is for its catcher to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2
    from computepool_client.explanations import Explanation
    from computepool_client.values import Allocation, Refusal, Spec


CLOSED: Final = "this pool is closed"
FORKED: Final = "this belongs to the process that this one was forked from: make another pool"


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
    """No center has room for it now; `refusal` says why, center by center.

    Attributes:
        wire_refusal: the refusal as the protocol has it.
        spec: what was asked for, where the SDK raised this.
    """

    wire_refusal: "allocation_pb2.Refusal | None" = None
    spec: "Spec | None" = None
    _fetch: "Callable[[Spec], Explanation] | None" = field(default=None, repr=False)

    def asked(self, spec: "Spec", fetch: "Callable[[Spec], Explanation] | None" = None) -> None:
        """Notes what was asked for, and who explains it."""
        self.spec, self._fetch = spec, fetch

    @property
    def refusal(self) -> "Refusal | None":
        """Why, as a plain value; at most 8 centers (see `explain`)."""
        # Only who asks pays for the protocol's code.
        from computepool_client.from_wire import refusal  # noqa: PLC0415 - see above

        return None if self.wire_refusal is None else refusal(self.wire_refusal)

    def explain(self) -> "Explanation":
        """Asks the pool for the whole story as it is now: all centers, and what would fit.

        With an asynchronous pool, and where this has been pickled, it is
        `pool.explain(error)`.

        Raises:
            TypeError: see above.
            PoolError: the pool could not be asked.
        """
        if self._fetch is None or self.spec is None:
            raise TypeError("this error has no pool to ask: call pool.explain(error)")
        return self._fetch(self.spec)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), self.args, self.__dict__ | {"_fetch": None})

    def _repr_html_(self) -> str:
        return self.refusal._repr_html_() if self.refusal is not None else self.message


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


@dataclass(eq=False)
class NotAcknowledgedError(OutcomeUnknownError):
    """It was done, or may have been, but the `ack` asked for was not reached in time."""

    @property
    def allocation_id(self) -> str:
        """Which allocation is held without it, where the broker knows; else empty."""
        return self.metadata.get("allocation_id", "")


@dataclass(eq=False)
class DeadlinePassedError(PoolError):
    """The time given was over before anything was sent: nothing happened."""


@dataclass(eq=False)
class ClosedError(PoolError):
    """The pool object was closed, or belongs to the process that this one was forked from."""


@dataclass(eq=False)
class NotActiveError(PoolError):
    """It was granted, but its agents had not admitted it when the time was over.

    Attributes:
        allocations: all that was granted, as it was last.
    """

    allocations: "tuple[Allocation, ...]" = ()


@dataclass(eq=False)
class AckLevelUnavailableError(WrongStateError):
    """The broker's store cannot give the `ack` asked for; nothing was done."""


@dataclass(eq=False)
class AllocationFailedError(WrongStateError):
    """It was granted, and has ended since.

    Attributes:
        allocations: all that was granted together, as it was last.
    """

    allocations: "tuple[Allocation, ...]" = ()


@dataclass(eq=False)
class LeaseLostError(WrongStateError):
    """The lease is no longer held, or may be no longer: its devices can be another's.

    Attributes:
        allocation_id: which.
    """

    allocation_id: str = ""

    def again(self) -> "LeaseLostError":
        """The same loss, to be raised at another place."""
        return LeaseLostError(
            self.message, self.reason, self.metadata, allocation_id=self.allocation_id
        )


def invalid(name: str, problem: str) -> InvalidRequestError:
    """The error of a field that cannot be meant, found before anything was sent."""
    violation = FieldViolation(name, problem)
    metadata = {"field": name}
    return InvalidRequestError(f"{name}: {problem}", "INVALID_FIELD", metadata, fields=(violation,))
