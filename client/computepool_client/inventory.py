"""What the pool says about itself (view, centers, nodes, agents), as plain frozen values.

Pure; see `values`. Amounts of devices are in thousandths of a device, of
processors in thousandths of a core, of memory and disk in MiB, ages in
milliseconds (-1: not since the broker's start), power in GFLOPS (10^6 are 1 P).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from computepool_client import notebook
from computepool_client.values import Resources


class PoolState(StrEnum):
    """Whether all agents that the broker knows of are back since its start."""

    UNSPECIFIED = "UNSPECIFIED"
    WARMING_UP = "WARMING_UP"
    READY = "READY"


class AgentState(StrEnum):
    """How an agent is doing."""

    UNSPECIFIED = "UNSPECIFIED"
    RECONCILING = "RECONCILING"
    ACTIVE = "ACTIVE"
    DISCONNECTED = "DISCONNECTED"
    LOST = "LOST"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class Amounts:
    """What there is of one resource, summed over nodes.

    Attributes:
        in_flight: part of granted that no report has shown yet.
        releasing: part of granted that has ended and is being torn down.
        free: total - reserved - foreign - granted, on all nodes.
        schedulable: part of free on nodes that take new grants now.
        overcommit: granted or foreign beyond what there is.
    """

    total: int = 0
    reserved: int = 0
    foreign: int = 0
    granted: int = 0
    in_flight: int = 0
    releasing: int = 0
    free: int = 0
    schedulable: int = 0
    overcommit: int = 0


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model of device in one center; `devices` in thousandths of a device."""

    model: str
    devices: Amounts
    peak_gflops: int
    granted_gflops: int
    foreign_gflops: int
    unknown_model: bool


@dataclass(frozen=True, slots=True)
class Center:
    """One center, with where it stands."""

    name: str
    region: str
    role: str
    nodes: int
    nodes_schedulable: int
    cpu_milli: Amounts
    memory_mib: Amounts
    disk_mib: Amounts
    models: tuple[ModelView, ...]
    age_ms: int
    cordoned: bool
    cordon_message: str
    agents: int
    agents_active: int
    in_flight_age_ms: int

    @property
    def devices_free(self) -> float:
        """Free devices on nodes that take grants now, of all models."""
        return sum(model.devices.schedulable for model in self.models) / 1000

    def __str__(self) -> str:
        total, free = sum(model.devices.total for model in self.models) / 1000, self.devices_free
        return f"{self.name} ({self.region}): {free:,.6g} of {total:,.6g} devices free"


@dataclass(frozen=True, slots=True)
class Region:
    """One region; `role` is "core", "support" or "receiver"."""

    name: str
    role: str
    centers: tuple[Center, ...]


@dataclass(frozen=True, slots=True)
class View:
    """The one view over all centers.

    Attributes:
        precision: of all gflops.
        mass_silence: more than half of the centers fell silent together.
        audit_findings: of the last audit; -1 before the first.
        allocations: live ones.
        grants_total: since the broker's start, as `refusals_total`.
        store, epoch, revision: the state of the store that it is true for.
    """

    regions: tuple[Region, ...]
    state: PoolState
    precision: str
    mass_silence: bool
    audit_findings: int
    allocations: int
    grants_total: int
    refusals_total: int
    store: str
    epoch: int
    revision: int

    @property
    def centers(self) -> tuple[Center, ...]:
        """The centers of all regions."""
        return tuple(center for region in self.regions for center in region.centers)

    def center(self, name: str) -> Center:
        """One center; raises `KeyError` when there is none of this name."""
        for center in self.centers:
            if center.name == name:
                return center
        raise KeyError(name)

    def __str__(self) -> str:
        head = f"{self.state}: {len(self.centers)} centers, {self.allocations:,} allocations live"
        return "\n".join([head, *(f"  {center}" for center in self.centers)])

    def _repr_html_(self) -> str:
        return notebook.view(self)


@dataclass(frozen=True, slots=True)
class NodeDevice:
    """One device of a node, as last reported; `gone` while only leases still hold it."""

    id: str
    model: str
    memory_mib: int
    healthy: bool
    foreign_milli: int
    granted_milli: int
    gone: bool


@dataclass(frozen=True, slots=True)
class Node:
    """One node; `blockers` says why it takes no grants where it is not schedulable."""

    name: str
    region: str
    center: str
    agent: str
    total: Resources
    reserved: Resources
    foreign: Resources
    granted: Resources
    devices: tuple[NodeDevice, ...]
    labels: Mapping[str, str] = field(hash=False)
    schedulable: bool
    blockers: tuple[str, ...]
    age_ms: int
    leases: int
    cordon_message: str


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent; `broker` is the name of the one that serves it, empty where there is but one."""

    name: str
    center: str
    region: str
    state: AgentState
    session: int
    last_sync_age_ms: int
    nodes: int
    leases: int
    refusals: int
    last_refusal: str
    version: str
    backend: str
    broker: str = ""


@dataclass(frozen=True, slots=True)
class DrainHolder:
    """A lease that is still there; `releasing` while it is torn down."""

    allocation: str
    tenant: str
    node: str
    remaining_ttl_ms: int
    releasing: bool


@dataclass(frozen=True, slots=True)
class DrainProgress:
    """Who is still there; the last one has no leases."""

    leases: int
    leases_at_start: int
    holders: tuple[DrainHolder, ...]
    holders_omitted: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement that an audit found; `kind` is such as "PHANTOM"."""

    kind: str
    node: str
    lease: str
    message: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found, and how much it looked at."""

    findings: tuple[Finding, ...]
    findings_omitted: int
    nodes: int
    leases: int
    duration_ms: int


def with_centers(view: View, centers: Iterable[tuple[Region, Center]]) -> View:
    """A view with these centers, each with its region's name and role, instead of its own."""
    regions: dict[str, Region] = {}
    for region, center in sorted(centers, key=lambda each: (each[0].name, each[1].name)):
        before = regions.get(region.name, replace(region, centers=()))
        regions[region.name] = replace(before, centers=(*before.centers, center))
    return replace(view, regions=tuple(regions.values()))
