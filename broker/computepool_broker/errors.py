"""Domain errors: each knows a stable reason and what it is about, and no status code.

May import nothing of the broker. `rpc/errors.py` holds the one table that maps reasons to
gRPC codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from computepool_broker.model.refusal import Refusal


class PoolError(Exception):
    """Anything that the broker answers with an error; `reason` is part of the API.

    Attributes:
        reason: Stable upper-case word.
        metadata: Machine-readable facts (names, numbers as text).
        retry_after_ms: When a retry makes sense, in milliseconds; None when it does not.
    """

    reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.metadata = dict(metadata or {})
        self.retry_after_ms = retry_after_ms


class InvalidArgumentError(PoolError):
    """A field is malformed or out of its range; nothing was changed."""

    reason = "INVALID_FIELD"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", metadata={"field": field})
        self.field = field
        self.problem = problem

    def within(self, field: str) -> InvalidArgumentError:
        """The same, in a message that is itself a field."""
        return type(self)(f"{field}.{self.field}", self.problem)


class UnimplementedOptionError(InvalidArgumentError):
    """The contract has the option, this version of the broker does not."""

    reason = "UNIMPLEMENTED_OPTION"


class EpochImplausibleError(InvalidArgumentError):
    """An agent claims an epoch too far ahead of ours."""

    reason = "EPOCH_IMPLAUSIBLE"


class NotFoundError(PoolError):
    """No such allocation, agent, node or center."""

    reason = "NOT_FOUND"


class NoRoomError(PoolError):
    """All is well, but it does not fit anywhere now."""

    reason = "NO_ROOM"

    def __init__(self, refusal: Refusal, *, retry_after_ms: int | None) -> None:
        super().__init__(refusal.summary, retry_after_ms=retry_after_ms)
        self.refusal = refusal


class WarmingUpError(PoolError):
    """It does not fit on the agents that are back; others are still expected."""

    reason = "WARMING_UP"


class OverloadedError(PoolError):
    """A bounded queue is full."""

    reason = "OVERLOADED"


class StoppingError(PoolError):
    """The broker is going down in good order."""

    reason = "STOPPING"


class OutcomeUnknownError(PoolError):
    """The store failed while this was being made durable: it may or may not have happened."""

    reason = "OUTCOME_UNKNOWN"


class StoreUnavailableError(PoolError):
    """The store takes nothing now; nothing was changed."""

    reason = "STORE_UNAVAILABLE"


class ContendedError(PoolError):
    """Other brokers were faster, again and again; nothing was changed."""

    reason = "CONTENDED"


class RequestIdReusedError(PoolError):
    """The request_id belongs to a request with other content."""

    reason = "REQUEST_ID_REUSED"


class LeaseEndedError(PoolError):
    """Too late to renew."""

    reason = "LEASE_ENDED"


class EtagMismatchError(PoolError):
    """The allocation has changed since it was read."""

    reason = "ETAG_MISMATCH"


class SessionStaleError(PoolError):
    """The session is not the agent's present one."""

    reason = "SESSION_STALE"


class AgentNameTakenError(PoolError):
    """Another journal uses the name of a live agent."""

    reason = "AGENT_NAME_TAKEN"


class NodeOwnedError(PoolError):
    """The node belongs to another agent."""

    reason = "NODE_OWNED"


class ReportOutOfOrderError(PoolError):
    """A part of a report came out of its turn."""

    reason = "REPORT_OUT_OF_ORDER"


class ProtocolUnsupportedError(PoolError):
    """The agent speaks a protocol version that this broker does not."""

    reason = "PROTOCOL_UNSUPPORTED"


class AgentAliveError(PoolError):
    """Only a silent agent can be forgotten."""

    reason = "AGENT_ALIVE"


class ResumeTokenExpiredError(PoolError):
    """What has changed since the token is no longer known: watch anew without it."""

    reason = "RESUME_TOKEN_EXPIRED"


class UncordonedError(PoolError):
    """Somebody took the cordon back while it was drained."""

    reason = "UNCORDONED"


class StoreRefusedError(PoolError):
    """The store cannot be used as it is (foreign, damaged, newer, badly configured)."""

    reason = "STORE_REFUSED"
