"""From messages to the broker's values, with every check of what comes from outside.

Raises InvalidArgumentError naming the field; nothing that passes can harm the core.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import types_pb2 as types
from computepool_broker.errors import InvalidArgumentError, UnimplementedOptionError
from computepool_broker.model.accelerators import DEFAULT_PRECISION, PRECISIONS
from computepool_broker.model.amounts import DEVICE_PREFIX, WHOLE_DEVICE, Resources
from computepool_broker.model.request import (
    ContactPolicy,
    PartSpec,
    Power,
    Shape,
    Spec,
    Spread,
    SpreadOver,
)
from computepool_broker.rpc import limits
from computepool_broker.services.levels import Level

if TYPE_CHECKING:
    from computepool_broker.model.amounts import Amounts

DEFAULT_TTL_S = 3_600
LEAST_TTL_S = 10
YEAR_S = 31_536_000
MAX_PARTS = 1_000
MAX_DEVICES = 64
MAX_GRANTED = 20_000
"""Devices of one allocation, so that it fits into a message."""
MAX_SKEW = 1_000
MAX_GFLOPS = 10**12
MAX_WAIT_MS = 60_000
DEFAULT_WAIT_MS = 10_000
MAX_PAGE = 1_000
DEFAULT_PAGE = 100
MAX_NAME = 254
KNOWN_SPECS = 4_096
KNOWN_BYTES = 4_096
"""Of a spec that is remembered: those that repeat are short, and the memory is bounded."""
RESERVED = wire.WAIT_FOR_RESERVED


class SpecReader:
    """Reads specs; remembers those seen lately by their bytes, since most requests repeat."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Spec] = OrderedDict()

    def read(self, field: str, message: types.AllocationSpec) -> Spec:
        """The validated spec of a request, defaults filled in."""
        spec = self.read_recorded(field, message)
        # Here, since what was granted before there was this bound must still be read.
        if spec.parts * spec.shape.part.devices > MAX_GRANTED:
            raise InvalidArgumentError(
                f"{field}.count", f"more than {MAX_GRANTED:,} devices in one allocation"
            )
        return spec

    def read_recorded(self, field: str, message: types.AllocationSpec) -> Spec:
        """The validated spec of a lease that was granted."""
        key = message.SerializeToString()
        spec = self._known.get(key)
        if spec is None:
            spec = read_spec(field, message)
            if len(key) <= KNOWN_BYTES:
                self._known[key] = spec
            if len(self._known) > KNOWN_SPECS:
                self._known.popitem(last=False)
        return spec


def read_spec(field: str, message: types.AllocationSpec) -> Spec:
    """The validated spec, defaults filled in."""
    power = _read_power(field, message) if message.HasField("power") else None
    part = _read_part(f"{field}.part", message.part, powered=power is not None)
    count = limits.ranged(f"{field}.count", message.count, 0, MAX_PARTS) or 1
    ttl_s = message.ttl_s
    if ttl_s:
        limits.ranged(f"{field}.ttl_s", ttl_s, LEAST_TTL_S, YEAR_S)
    policy, after_s = _read_contact(f"{field}.contact", message.contact)
    shape = Shape(
        part,
        limits.names(f"{field}.regions", message.regions),
        limits.names(f"{field}.centers", message.centers),
        limits.labels(f"{field}.node_labels", message.node_labels),
    )
    spread = _read_spread(f"{field}.spread", message.spread) if message.HasField("spread") else None
    return Spec(shape, count, ttl_s or DEFAULT_TTL_S, policy, after_s, spread, power)


def _read_spread(field: str, message: types.Spread) -> Spread | None:
    max_skew = limits.ranged(f"{field}.max_skew", message.max_skew, 0, MAX_SKEW)
    if message.over == types.SPREAD_OVER_UNSPECIFIED:
        if max_skew:
            raise InvalidArgumentError(f"{field}.over", "must be given with max_skew")
        return None
    if int(message.over) not in {int(over) for over in SpreadOver}:
        raise InvalidArgumentError(f"{field}.over", f"unknown value {int(message.over)}")
    return Spread(SpreadOver(message.over), max_skew or 1)


def _read_power(field: str, message: types.AllocationSpec) -> Power:
    for name in ("devices", "device_milli"):
        if getattr(message.part, name):
            raise InvalidArgumentError(
                f"{field}.part.{name}", "excludes power; ask for one of them"
            )
    if message.count not in (0, 1):
        raise InvalidArgumentError(f"{field}.count", "excludes power, which makes its own parts")
    if message.HasField("spread"):
        raise InvalidArgumentError(f"{field}.spread", "excludes power")
    power = message.power
    precision = power.precision or DEFAULT_PRECISION
    if precision not in PRECISIONS:
        raise InvalidArgumentError(
            f"{field}.power.precision",
            f"must be one of {', '.join(PRECISIONS)}, not {precision[:32]!a}",
        )
    gflops = limits.ranged(f"{field}.power.gflops", power.gflops, 1, MAX_GFLOPS)
    return Power(gflops, precision, power.mixed)


def _read_part(field: str, message: types.PartSpec, *, powered: bool) -> PartSpec:
    have = read_resources(f"{field}.resources", message.resources)
    devices = limits.ranged(f"{field}.devices", message.devices, 0, MAX_DEVICES)
    milli = limits.ranged(f"{field}.device_milli", message.device_milli, 0, WHOLE_DEVICE - 1)
    if devices and milli:
        raise InvalidArgumentError(f"{field}.device_milli", "excludes devices; ask for one of them")
    models = limits.names(f"{field}.models", message.models, limits.MODEL)
    least = limits.amount(f"{field}.min_device_memory_mib", message.min_device_memory_mib)
    if (models or least) and not (devices or milli or powered):
        raise InvalidArgumentError(f"{field}.devices", "models or memory given, but no device")
    if not (any(have[:3]) or have.extras or devices or milli or powered):
        raise InvalidArgumentError(field, "asks for nothing")
    return PartSpec(*have, devices, milli, models, least)


def _read_contact(field: str, message: types.ContactTerm) -> tuple[ContactPolicy, int]:
    if message.policy == types.CONTACT_POLICY_REPLACE_AFTER:
        raise UnimplementedOptionError(f"{field}.policy", "REPLACE_AFTER is not built yet")
    if message.policy == types.CONTACT_POLICY_STOP_AFTER:
        return ContactPolicy.STOP_AFTER, limits.ranged(
            f"{field}.after_s", message.after_s, 1, YEAR_S
        )
    if message.policy not in (types.CONTACT_POLICY_UNSPECIFIED, types.CONTACT_POLICY_KEEP):
        raise InvalidArgumentError(f"{field}.policy", f"unknown policy {int(message.policy)}")
    if message.after_s:
        raise InvalidArgumentError(f"{field}.after_s", "only with STOP_AFTER")
    return ContactPolicy.KEEP, 0


def read_resources(field: str, message: types.Resources) -> Resources:
    """Validated amounts."""
    return Resources(
        limits.amount(f"{field}.cpu_milli", message.cpu_milli),
        limits.amount(f"{field}.memory_mib", message.memory_mib),
        limits.amount(f"{field}.disk_mib", message.disk_mib),
        limits.extras(f"{field}.extras", message.extras) if message.extras else (),
    )


def read_amounts(
    field: str, resources: types.Resources, devices: list[types.DeviceShare]
) -> Amounts:
    """What a lease holds, devices included."""
    out = list(read_resources(f"{field}.resources", resources).amounts())
    limits.ranged(f"{field}.devices", len(devices), 0, MAX_DEVICES)
    for at, share in enumerate(devices):
        where = f"{field}.devices[{at}]"
        name = limits.matched(f"{where}.device_id", share.device_id, limits.DEVICE_ID)
        milli = limits.ranged(f"{where}.milli", share.milli, 1, WHOLE_DEVICE)
        out.append((DEVICE_PREFIX + name, milli))
    if len({key for key, _ in out}) != len(out):
        raise InvalidArgumentError(f"{field}.devices", "a device is listed twice")
    return tuple(out)


def read_tenant(field: str, value: str) -> str:
    """A tenant's name; "default" when empty."""
    return limits.matched(field, value, limits.TENANT) if value else "default"


def read_request_id(value: str, field: str = "request_id") -> str:
    """An idempotency id; empty when there is none."""
    return limits.matched(field, value, limits.REQUEST_ID) if value else ""


def read_id(field: str, value: str) -> str:
    """A name that must be given."""
    if not value:
        raise InvalidArgumentError(field, "must be given")
    return limits.matched(field, value, limits.NAME)


def read_wait_s(wait_for: int, wait_ms: int) -> float:
    """How long a create waits for ACTIVE, in seconds; 0 does not wait."""
    limits.ranged("wait_ms", wait_ms, 0, MAX_WAIT_MS)
    if wait_for == RESERVED:
        return 0.0
    if wait_for not in (wire.WAIT_FOR_UNSPECIFIED, wire.WAIT_FOR_ACTIVE):
        raise InvalidArgumentError("wait_for", f"unknown value {wait_for}")
    return (wait_ms or DEFAULT_WAIT_MS) / 1000


def read_ack_level(value: int) -> Level | None:
    """The level of acknowledgement that a call names; None when it names none."""
    if value == wire.ACK_LEVEL_UNSPECIFIED:
        return None
    try:
        return Level(value)
    except ValueError:
        raise InvalidArgumentError("ack_level", f"unknown value {value}") from None


def all_ids(values: list[str]) -> bool:
    """Whether all are plain names; a "no" may be wrong, and `read_id` says of each."""
    joined = "".join(values)
    return (
        "" not in values
        and joined.isascii()
        and joined.isalnum()
        and max(map(len, values)) < MAX_NAME
    )
