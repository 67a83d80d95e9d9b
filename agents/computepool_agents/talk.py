"""One session's memory, and the requests that it leads to.

May import model, report and the generated protos. Pure: it changes by what it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from computepool.v1 import agent_pb2 as wire
from computepool_agents.report import Heading

if TYPE_CHECKING:
    from computepool_agents.answers import Plan
    from computepool_agents.link import SessionStaleError
    from computepool_agents.model import Contact, Held, Mark, Node
    from computepool_agents.report import Reporter

PROTOCOL_VERSION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the agent is.

    Attributes:
        agent: Unique name in the pool.
        center: Where its nodes stand.
        region: Where the center stands.
        role: "core", "support" or "receiver".
        backend: What makes grants real.
        version: Of the agent software.
    """

    agent: str
    center: str
    region: str
    role: str
    backend: str
    version: str

    def open_request(
        self, journal_id: str, session: int, seen: Mark | None, now: Contact, held: int
    ) -> wire.OpenSessionRequest:
        """Make the request that begins a session."""
        return wire.OpenSessionRequest(
            agent=self.agent,
            journal_id=journal_id,
            session=session,
            agent_version=self.version,
            protocol_version=PROTOCOL_VERSION,
            center=self.center,
            region=self.region,
            role=self.role,
            seen=seen.message() if seen else None,
            boot_id=now.boot_id,
            held_leases=held,
            backend=self.backend,
        )


@dataclass(slots=True)
class Talk:
    """What counts for one session only.

    Attributes:
        agent: Name of the agent.
        session: Number of the session.
        identity: The store that it was opened with.
        applied_revision: Of the newest answer applied; 0 before the first.
        sequence: Number of the report made last; 0 before the first. A retry counts on: it shows
            things as they are then, and an attempt before it that arrives late must not count.
        reported: The nodes of the last complete report; None asks for them next time.
        full: The next report has nodes and full records.
        refused: Leases refused, by id, until the broker has dealt with them.
        stale: Set when the doorbell says that the session is over.
    """

    agent: str
    session: int
    identity: str
    applied_revision: int = 0
    sequence: int = 0
    reported: tuple[Node, ...] | None = None
    full: bool = True
    refused: dict[str, Held] = field(default_factory=dict)
    stale: SessionStaleError | None = None

    def report(
        self, reporter: Reporter, held: list[Held], nodes: tuple[Node, ...]
    ) -> list[wire.SyncRequest]:
        """Make the next report, or its retry, of things as they are now.

        Raises:
            ReportTooLargeError: See Reporter.
        """
        self.sequence += 1
        unchanged = not self.full and nodes == self.reported
        heading = Heading(self.agent, self.session, self.sequence, self.applied_revision)
        return reporter.parts(
            heading,
            [*held, *self.refused.values()],
            None if unchanged else nodes,
            with_records=self.full,
        )

    def delivered(self, nodes: tuple[Node, ...], *, want_full: bool) -> None:
        """Note that a report was answered, whole."""
        self.reported = nodes
        self.full = want_full

    def applied(self, plan: Plan, revision: int) -> None:
        """Note what an answer did, once that is durable."""
        self.applied_revision = max(self.applied_revision, revision)
        for lease_id in plan.forgotten:
            self.refused.pop(lease_id, None)
        self.refused.update((lease.lease_id, lease) for lease in plan.refused)
        if plan.refused:
            # The broker's picture of the node was wrong: show it the nodes again.
            self.reported = None

    def watch_request(self) -> wire.WatchCommandsRequest:
        """Make the request for the session's doorbell."""
        return wire.WatchCommandsRequest(agent=self.agent, session=self.session)

    def close_request(self) -> wire.CloseSessionRequest:
        """Make the request that ends the session."""
        return wire.CloseSessionRequest(agent=self.agent, session=self.session)
