"""What is known of the pool, folded from the broker's answers.

Pure: times are arguments, in seconds of one monotonic clock. Ages go on growing
between answers, since an age that stands still would be a lie.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from computepool_client.cli import documents
from computepool_client.cli.top.centers import CenterRow
from computepool_client.cli.top.rates import Rate

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2, inventory_pb2

_LEAST_BUCKET_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Totals:
    """What an answer says of the pool as a whole; the fields of GetViewResponse."""

    warming_up: bool = False
    mass_silence: bool = False
    precision: str = ""
    audit_findings: int = -1
    allocations: int = 0
    grants: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent, and how long ago it reported when it was `seen_s`."""

    name: str
    center: str
    state: str
    last_sync_age_ms: int
    nodes: int
    leases: int
    refusals: int
    last_refusal: str
    seen_s: float


@dataclass(frozen=True, slots=True)
class Detail:
    """What is in one center, as far as it was asked for.

    Attributes:
        more_nodes: there are more than these nodes.
        more_allocations: there may be more than these allocations.
    """

    center: str
    nodes: "Sequence[inventory_pb2.Node]" = ()
    more_nodes: bool = False
    allocations: "Sequence[allocation_pb2.Allocation]" = ()
    more_allocations: bool = False
    seen_s: float = 0.0


@dataclass(slots=True)
class Board:
    """All that was heard.

    Attributes:
        interval_s: time between two answers that the view is asked for with.
        patience_s: after so long without an answer it counts as silence.
        trouble: why the last call failed; empty after one that did not.
        polling: the broker does not stream its view, so it is asked again and again.
    """

    interval_s: float
    patience_s: float
    centers: dict[str, CenterRow] = field(default_factory=dict)
    totals: Totals | None = None
    agents: tuple[AgentRow, ...] = ()
    detail: Detail | None = None
    trouble: str = ""
    polling: bool = False
    heard_s: float | None = None
    began_s: float | None = None
    grants: Rate = field(init=False)
    refusals: Rate = field(init=False)

    def __post_init__(self) -> None:
        bucket_s = max(self.interval_s, _LEAST_BUCKET_S)
        self.grants, self.refusals = Rate(bucket_s), Rate(bucket_s)

    def viewed(
        self,
        view: "inventory_pb2.GetViewResponse",
        now_s: float,
        *,
        whole: bool = True,
        gone: Iterable[str] = (),
    ) -> None:
        """Takes the view, or what changed of it."""
        self._hear(now_s)
        if whole:
            self.centers.clear()
        for name in gone:
            self.centers.pop(name, None)
        for region in view.regions:
            for center in region.centers:
                row = CenterRow.of(region.region, region.role, center, now_s)
                self.centers[center.center] = row
        self.totals = Totals(
            # The names of the states are compared, since the generated code is slow to import.
            warming_up=documents.enum_name(view, "state") == "POOL_STATE_WARMING_UP",
            mass_silence=view.mass_silence,
            precision=view.precision,
            audit_findings=view.audit_findings,
            allocations=view.allocations,
            grants=view.grants_total,
            refusals=view.refusals_total,
        )
        self.grants.note(view.grants_total, now_s)
        self.refusals.note(view.refusals_total, now_s)

    def listed(self, agents: "Iterable[inventory_pb2.Agent]", now_s: float) -> None:
        """Takes the agents, or the slowest of them."""
        self._hear(now_s)
        self.agents = tuple(
            AgentRow(
                each.name,
                each.center,
                documents.enum_name(each, "state").removeprefix("AGENT_STATE_"),
                each.last_sync_age_ms,
                each.nodes,
                each.leases,
                each.refusals,
                each.last_refusal,
                now_s,
            )
            for each in agents
        )

    def opened(self, detail: Detail | None, now_s: float) -> None:
        """Takes what is in the center that is looked at; None when none is any more."""
        if detail is not None:
            self._hear(now_s)
        self.detail = detail

    def failed(self, trouble: str, now_s: float) -> None:
        """A call failed, and will be made again."""
        self.trouble = trouble
        if self.began_s is None:
            self.began_s = now_s

    def silent_for_s(self, now_s: float) -> float | None:
        """How long there has been no answer, in seconds; None while all is well."""
        since_s = self.heard_s if self.heard_s is not None else self.began_s
        if since_s is None:
            return None
        silent_s = max(0.0, now_s - since_s)
        return silent_s if self.trouble or silent_s > self.patience_s else None

    def _hear(self, now_s: float) -> None:
        self.heard_s, self.trouble = now_s, ""
