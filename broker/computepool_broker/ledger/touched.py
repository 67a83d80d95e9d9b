"""What folds have changed, for those who are told once it is durable. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from computepool_broker.model.records import Allocation, AllocationState

ACTIVE = AllocationState.ACTIVE


@dataclass(slots=True)
class Touched:
    """What the folds since the last look have changed: whom to wake when it is durable.

    Attributes:
        allocations: All that changed, as they were then: by now they may have changed again,
            and that is not durable yet.
        agents: Agents that have something new to do, and the revision that said so.
        granted: Allocations made, but for adopted ones, which are only counted.
        activated: Allocations that became ACTIVE.
        ended: Allocations that ended for their tenants.
        begun: Allocations whose time begins: made or adopted.
        renewed: Allocations that were given their time anew.
        forgotten: Ids of records that were dropped.
        sessions: Agents whose record was put.
    """

    allocations: dict[str, Allocation] = field(default_factory=dict)
    agents: dict[str, int] = field(default_factory=dict)
    granted: list[Allocation] = field(default_factory=list)
    adopted: int = 0
    activated: list[Allocation] = field(default_factory=list)
    ended: list[Allocation] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)

    @property
    def anything(self) -> bool:
        """Whether anybody has to be told."""
        return bool(
            self.allocations or self.agents or self.renewed or self.forgotten or self.sessions
        )

    def note_step(self, before: Allocation | None, now: Allocation) -> None:
        """Note the step in an allocation's life that a change is, if it is one."""
        if before is None:
            self.begun.append(now.id)
            if now.adopted:
                self.adopted += 1
            else:
                self.granted.append(now)
        elif before.state is now.state:
            return
        elif now.state is ACTIVE:
            self.activated.append(now)
        elif before.state <= ACTIVE:
            # Looking it up in LIVE_STATES would take five times as long.
            self.ended.append(now)
