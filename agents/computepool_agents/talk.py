"""One session's memory, and the requests that it leads to.

May import model, report and the generated protos. Pure: it changes by what it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from computepool.v1 import agent_pb2 as wire
from computepool_agents.report import Difference, Heading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from computepool_agents.answers import Plan
    from computepool_agents.link import SessionStaleError
    from computepool_agents.model import Contact, Held, Mark, Node
    from computepool_agents.report import Reporter

PROTOCOL_VERSION = 1
DELTA = "delta"
"""The broker's word for taking reports that name only what changed."""


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


@dataclass(frozen=True, slots=True)
class Picture:
    """What a report says.

    Attributes:
        sequence: Number of the report.
        nodes: All nodes, by name.
        leases: All leases held or refused, by id.
    """

    sequence: int
    nodes: Mapping[str, Node]
    leases: Mapping[str, Held]

    def since(self, base: Picture, shown: Collection[str]) -> Difference:
        """What has changed since the base; nodes in `shown` count as changed."""
        return Difference(
            base.sequence,
            # A lease is another object when it is in another state.
            [lease for key, lease in self.leases.items() if base.leases.get(key) is not lease],
            [key for key in base.leases if key not in self.leases],
            [
                node
                for name, node in self.nodes.items()
                if (name in shown or _differ(base.nodes.get(name), node))
            ],
            [name for name in base.nodes if name not in self.nodes],
        )


def _differ(old: Node | None, node: Node) -> bool:
    return old is not node and old != node


@dataclass(slots=True)
class Talk:
    """What counts for one session only.

    Attributes:
        agent: Name of the agent.
        session: Number of the session.
        identity: The store that it was opened with.
        deltas: The broker takes reports that name only what changed.
        applied_revision: Of the newest answer applied; 0 before the first.
        sequence: Number of the report made last; 0 before the first. A retry counts on: it shows
            things as they are then, and an attempt before it that arrives late must not count.
        known: What the report said that was answered last; None when the next must be whole.
        sent: What the report says that was made last.
        full: The next report has nodes and full records.
        shown: Nodes that the next report names also when they are as before.
        refused: Leases refused, by id, until the broker has dealt with them.
        served: A report has been answered.
        behind: Answers in a row whose commands were too old to count.
        stale: Set when the doorbell says that the session is over.
    """

    agent: str
    session: int
    identity: str
    deltas: bool = False
    applied_revision: int = 0
    sequence: int = 0
    known: Picture | None = None
    sent: Picture | None = None
    full: bool = True
    shown: set[str] = field(default_factory=set)
    refused: dict[str, Held] = field(default_factory=dict)
    served: bool = False
    behind: int = 0
    stale: SessionStaleError | None = None

    @classmethod
    def begun(cls, agent: str, session: int, opened: wire.OpenSessionResponse) -> Self:
        """A session that the broker has just opened."""
        return cls(agent, session, opened.mark.identity, deltas=DELTA in opened.features)

    def report(
        self, reporter: Reporter, held: Iterable[Held], nodes: Iterable[Node]
    ) -> list[wire.SyncRequest]:
        """Make the next report, or its retry, of things as they are now.

        The difference to what the broker has answered, when it takes that and it is smaller.

        Raises:
            ReportTooLargeError: See Reporter.
        """
        self.sequence += 1
        leases = {lease.lease_id: lease for lease in held} | self.refused
        now = self.sent = Picture(self.sequence, {node.name: node for node in nodes}, leases)
        heading = Heading(self.agent, self.session, self.sequence, self.applied_revision)
        changed = list(now.nodes.values())
        if self.known is None:
            return reporter.parts(heading, leases.values(), changed, with_records=self.full)
        changes = now.since(self.known, self.shown)
        unchanged = not (changes.nodes or changes.nodes_gone)
        whole = len(leases) + (0 if unchanged else len(changed))
        if self.deltas and (not changes.size or changes.size < whole):
            return reporter.difference(heading, changes)
        return reporter.parts(
            heading, leases.values(), None if unchanged else changed, with_records=False
        )

    def delivered(self, *, want_full: bool) -> None:
        """Note that the report made last was answered."""
        self.served = True
        self.known, self.full = (None, True) if want_full else (self.sent, False)
        self.shown.clear()

    def doubted(self) -> None:
        """Note that the broker takes no report like the last: the next is whole."""
        self.known = None

    def applied(self, plan: Plan, revision: int) -> None:
        """Note what an answer did, once that is durable.

        Args:
            plan: What it did.
            revision: Up to which all is done now; 0 when the answer was not whole.
        """
        self.behind = 0
        self.applied_revision = max(self.applied_revision, revision)
        for lease_id in plan.forgotten:
            self.refused.pop(lease_id, None)
        self.refused.update((lease.lease_id, lease) for lease in plan.refused)
        # The broker's picture of these nodes was wrong: show them again.
        self.shown.update(lease.record.node for lease in plan.refused)

    def watch_request(self) -> wire.WatchCommandsRequest:
        """Make the request for the session's doorbell."""
        return wire.WatchCommandsRequest(agent=self.agent, session=self.session)

    def close_request(self) -> wire.CloseSessionRequest:
        """Make the request that ends the session."""
        return wire.CloseSessionRequest(agent=self.agent, session=self.session)
