"""Why something is where it is, and how allocations change, as plain frozen values.

Pure; see `values`.
"""

from dataclasses import dataclass

from computepool_client.values import Allocation, PartState, Refusal


@dataclass(frozen=True, slots=True)
class FilterStep:
    """Nodes left after one filter and all before it."""

    reason: str
    nodes: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that would take the part.

    Attributes:
        score: 0 to 1,000,000; that which is left with least is best.
        cpu_milli_left: what it would have left, in thousandths of a core.
        device_milli_left: see above, in thousandths of a device.
    """

    node: str
    center: str
    region: str
    score: int
    cpu_milli_left: int
    device_milli_left: int


@dataclass(frozen=True, slots=True)
class PartExplanation:
    """Why a part is where it is.

    Attributes:
        rank: of its place among the nodes that could take it now, 1 is best; 0
            when the node could not take it now.
        candidates: how many such nodes there are.
    """

    index: int
    place: Candidate
    model: str
    rank: int
    candidates: int
    others: tuple[Candidate, ...]
    summary: str
    state: PartState


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reasons: of an allocation's places, or of a request's, or of a refusal."""

    summary: str
    view_revision: int
    refusal: Refusal | None
    parts: tuple[PartExplanation, ...]
    parts_omitted: int
    filters: tuple[FilterStep, ...]
    allocation: Allocation | None

    def __str__(self) -> str:
        lines = [self.summary if self.refusal is None else str(self.refusal)]
        lines += [f"  part {part.index}: {part.summary}" for part in self.parts]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class AllocationEvent:
    """One allocation as it now is.

    Attributes:
        existing: it was there as the watch began.
        gone: the store has lost it and no agent holds it: nothing of it is granted any
            more; it is told as it was last known.
    """

    allocation: Allocation
    existing: bool
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """Some changes of allocations, in the order of their revisions.

    Attributes:
        resume_token: goes on after these, also with a broker started anew.
        synced: all that was there, or had changed since the token, is told.
        revision: the store's revision that all changes up to are told.
        restarted: the token could not be resumed: the watch began anew, changes
            before it may have been missed.
    """

    events: tuple[AllocationEvent, ...]
    resume_token: str
    synced: bool
    revision: int
    restarted: bool = False
