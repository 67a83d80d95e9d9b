"""What the agent needs of its connection to the broker, and how that can fail.

May import the generated protos. Only interfaces and errors: session.py is the real thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from computepool.v1 import agent_pb2 as agent


class LinkError(Exception):
    """A call to the broker did not do what it should.

    Attributes:
        reason: Stable upper-case word: the broker's own, or the name of a gRPC status.
        message: For people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class RetryableError(LinkError):
    """Nobody knows whether it arrived, or the broker cannot now: try again later."""


class UnservedError(RetryableError):
    """The broker does not answer, or can serve nobody now: another one may."""


class SessionStaleError(LinkError):
    """The broker does not know the session or has a newer one: open another."""


class BrokerLostError(SessionStaleError):
    """The session's broker does not serve, and there are others: open a session with one of them.

    It needs a new number: an attempt that arrives late where it was lost must not count.
    """


class RejectedError(LinkError):
    """The broker will never take this agent as it is: a person has to act."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a complete report.

    Attributes:
        response: What the broker said.
        sent_s: When the report's last part was sent, in seconds on the boot's clock.
    """

    response: agent.SyncResponse
    sent_s: float


class Link(Protocol):
    """The agent's side of AgentService."""

    async def open(self, request: agent.OpenSessionRequest) -> agent.OpenSessionResponse:
        """Begin a session.

        Raises:
            RetryableError: Retry with the same session number.
            SessionStaleError: Retry with the next session number.
            RejectedError: Give up.
        """

    async def report(self, parts: Sequence[agent.SyncRequest]) -> list[Answer]:
        """Deliver all parts of a report.

        Returns:
            The answers that have arrived by now, in the order of their arrival. A real
            connection gives exactly one.

        Raises:
            RetryableError: Report again, from part 0.
            SessionStaleError: Open a new session.
        """

    def doorbell(self, request: agent.WatchCommandsRequest) -> AsyncIterator[int]:
        """Wait for rings; yields the revision that rang.

        Raises:
            RetryableError: The stream broke; open it again.
            SessionStaleError: Open a new session.
        """

    async def close(self, request: agent.CloseSessionRequest) -> None:
        """Say good-bye.

        Raises:
            LinkError: The broker did not hear it, which does no harm.
        """
