"""What the pool says about allocations, as plain frozen values.

Pure; imports nothing but how they look in a notebook and in words. Everything here can be
pickled, compared and printed, holds no connection, and names its units.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from computepool_client import notebook
from computepool_client.cli import units


class AllocationState(StrEnum):
    """RESERVED -> ACTIVE -> RELEASING -> ENDED, or RESERVED -> RELEASING -> ENDED."""

    UNSPECIFIED = "UNSPECIFIED"
    RESERVED = "RESERVED"
    ACTIVE = "ACTIVE"
    RELEASING = "RELEASING"
    ENDED = "ENDED"


class EndReason(StrEnum):
    """How an allocation ended; UNSPECIFIED while it has not."""

    UNSPECIFIED = "UNSPECIFIED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    LOST = "LOST"
    REVOKED = "REVOKED"


class PartState(StrEnum):
    """How far one part has come at its agent."""

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    ADMITTED = "ADMITTED"
    STARTED = "STARTED"
    REFUSED = "REFUSED"
    RELEASING = "RELEASING"
    STOPPED = "STOPPED"
    GONE = "GONE"


class AckLevel(StrEnum):
    """What an answer guarantees; each level includes those above it.

    UNSPECIFIED: the broker did not say. DURABLE: on the store's disk, and on as many
    replicas as the broker is set to. CONFIRMED: admitted by every agent, too.
    """

    UNSPECIFIED = "UNSPECIFIED"
    COMMITTED = "COMMITTED"
    DURABLE = "DURABLE"
    CONFIRMED = "CONFIRMED"


@dataclass(frozen=True, slots=True)
class Resources:
    """Amounts besides devices."""

    cpu_milli: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    extras: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Spec:
    """What is asked for, in the units of the wire.

    Attributes:
        gpus: whole devices of each part.
        gpu_milli: a share of one device in thousandths; excludes `gpus`.
        models: accepted models; empty accepts any.
        min_gpu_memory_mib: least memory of each device.
        resources: amounts besides devices, of each part.
        count: equal parts, all or nothing.
        ttl_s: how long it lasts without renewal, in seconds.
        stop_after_s: silence of the broker after which agents stop it; None
            lets the work go on.
        spread: "nodes", "centers", "regions", or "" without.
        power_gflops: asked for by power, in GFLOPS (10^6 are 1 P); 0 without.
    """

    gpus: int = 0
    gpu_milli: int = 0
    models: tuple[str, ...] = ()
    min_gpu_memory_mib: int = 0
    resources: Resources = Resources()
    count: int = 1
    regions: tuple[str, ...] = ()
    centers: tuple[str, ...] = ()
    node_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    ttl_s: int = 3600
    stop_after_s: int | None = None
    spread: str = ""
    max_skew: int = 0
    power_gflops: int = 0
    precision: str = ""
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device, or a share of one, that an allocation holds.

    Attributes:
        id: the device's own name (its UUID), never its index.
        milli: thousandths of it; 1000 is the whole device.
    """

    id: str
    milli: int
    model: str
    node: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an allocation, on one node; a preview's parts have no `id`."""

    id: str
    index: int
    region: str
    center: str
    node: str
    model: str
    devices: tuple[Device, ...]
    resources: Resources
    state: PartState
    place_revision: int = 0


class Placed(ABC):
    """Where something with parts is; for `Allocation` and the leases."""

    __slots__ = ()

    @abstractmethod
    def _placed(self) -> tuple[Part, ...]:
        """Its parts."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices of all parts."""
        return tuple(device for part in self._placed() for device in part.devices)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that it is on, each once."""
        return tuple(dict.fromkeys(part.node for part in self._placed()))

    @property
    def node(self) -> str:
        """Name of the node; raises `ValueError` when it is on several (see `nodes`)."""
        return _only(self.nodes, "nodes")

    @property
    def centers(self) -> tuple[str, ...]:
        """Names of the centers that it is in, each once."""
        return tuple(dict.fromkeys(part.center for part in self._placed()))

    @property
    def center(self) -> str:
        """Name of the center; raises `ValueError` when it is in several."""
        return _only(self.centers, "centers")

    @property
    def region(self) -> str:
        """Name of the region; raises `ValueError` when it is in several."""
        return _only(tuple(dict.fromkeys(part.region for part in self._placed())), "regions")

    @property
    def model(self) -> str:
        """Model of the devices, empty without; raises `ValueError` when there are several."""
        return _only(tuple(dict.fromkeys(part.model for part in self._placed())), "models")


@dataclass(frozen=True, slots=True)
class Allocation(Placed):
    """Committed amounts on named nodes and devices for one tenant, as they were when asked.

    Attributes:
        remaining_ttl_ms: time left without renewal when the broker answered, at
            least, in milliseconds.
        etag: changes with every change but renewal.
        revision: the store's revision of its last change.
        adopted: brought back from the journals of agents after a loss.
        power_gflops: peak power of its devices, when asked for by power.
    """

    id: str
    tenant: str
    spec: Spec
    state: AllocationState
    parts: tuple[Part, ...]
    end_reason: EndReason = EndReason.UNSPECIFIED
    end_message: str = ""
    etag: str = ""
    create_time: datetime | None = None
    remaining_ttl_ms: int = 0
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    request_id: str = ""
    revision: int = 0
    adopted: bool = False
    flags: tuple[str, ...] = ()
    power_gflops: int = 0

    @property
    def live(self) -> bool:
        """Whether it had not ended for its tenant."""
        return self.state in (AllocationState.RESERVED, AllocationState.ACTIVE)

    def _repr_html_(self) -> str:
        return notebook.allocation(self)

    def _placed(self) -> tuple[Part, ...]:
        return self.parts


@dataclass(frozen=True, slots=True)
class CenterRefusal:
    """Why a center cannot take the parts: its first blocking reason.

    Attributes:
        reason: the filter that left no node, such as "DEVICES".
        resource: what is short; empty when no amount is missing.
        missing: how much the best node lacks, in the resource's unit.
        nodes: nodes that passed all earlier filters.
        age_ms: age of the oldest number behind this; -1 when the center has not
            reported since the broker's start.
    """

    center: str
    region: str
    reason: str
    resource: str
    missing: int
    nodes: int
    age_ms: int

    def __str__(self) -> str:
        lack = f", {units.missing(self.missing, self.resource)} missing" if self.resource else ""
        return f"{self.center} ({self.region}): {self.reason}{lack}"


@dataclass(frozen=True, slots=True)
class NearestFit:
    """A request that differs in one thing and would fit: `pool.allocate(spec=fit.spec)`."""

    field: str
    asked: str
    fits: str
    summary: str
    spec: Spec
    center: str

    def __str__(self) -> str:
        return f"{self.summary} (in {self.center})" if self.center else self.summary


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no room.

    Attributes:
        centers: those that lack least first; at most 8 in an error, all in a
            preview or an explanation.
        view_revision: the state of the pool that it is true for.
        nearest: what would fit instead; filled by `explain` and `preview`.
        beyond_pool: not even the empty pool could hold it: waiting does not help.
    """

    summary: str
    centers: tuple[CenterRefusal, ...] = ()
    centers_omitted: int = 0
    view_revision: int = 0
    parts_placeable: int = 0
    nearest: tuple[NearestFit, ...] = ()
    beyond_pool: bool = False

    def __str__(self) -> str:
        lines = [self.summary, *(f"  {center}" for center in self.centers)]
        if self.centers_omitted:
            lines.append(f"  and {self.centers_omitted} more centers")
        if self.beyond_pool:
            lines.append("Even the empty pool could not hold it: waiting does not help.")
        if self.nearest:
            lines += ["It would fit:", *(f"  {fit}" for fit in self.nearest)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return notebook.refusal(self)


@dataclass(frozen=True, slots=True)
class Preview:
    """Where an allocation would go now, or why nowhere; nothing is held."""

    parts: tuple[Part, ...]
    refusal: Refusal | None
    view_revision: int

    @property
    def fits(self) -> bool:
        """Whether there is room now."""
        return self.refusal is None


def _only(names: tuple[str, ...], what: str) -> str:
    if len(names) > 1:
        raise ValueError(f"it has several {what}: {', '.join(names)}")
    return names[0] if names else ""
