"""What a program asks for, in its own words, made into a `Spec`.

Pure. Words that cannot be meant are refused here, naming the keyword; whether an
amount is in its range is for the broker to say, which knows the ranges.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from math import isfinite
from typing import Final, Literal, TypeAlias, TypedDict

from computepool_client import errors
from computepool_client.cli import units
from computepool_client.values import Resources, Spec

Duration: TypeAlias = float | str | timedelta
"""Seconds, a text such as "10m" or "1h30m", or a timedelta."""
Names: TypeAlias = str | Sequence[str]
"""One name, or several."""

_INT32: Final = 2**31 - 1
_INT64: Final = 2**63 - 1


class Wanted(TypedDict, total=False):
    """What each part needs, how many there are, and where they may be.

    gpus: whole devices of one model on one node. gpu_share: a share of one device
    (0.25) instead. cpu: cores (4, 0.5). memory, disk, min_gpu_memory: such as
    "64GiB". extras: amounts of named things. count: equal parts, all or nothing.
    model, region, center: one name or several that will do. node_labels: what a node
    must carry. spread: over "nodes", "centers" or "regions", with max_skew.
    pflops: power in P instead of a number of devices, at a precision ("fp16");
    mixed allows several models. ttl: how long it lasts without renewal. contact:
    "keep" or "stop-after:10m", when agents lose the broker.
    """

    gpus: int
    gpu_share: float
    cpu: float | str
    memory: str
    disk: str
    extras: Mapping[str, int]
    count: int
    model: Names
    min_gpu_memory: str
    region: Names
    center: Names
    node_labels: Mapping[str, str]
    spread: Literal["nodes", "centers", "regions"]
    max_skew: int
    pflops: float
    precision: str
    mixed: bool
    ttl: Duration
    contact: str


class Told(TypedDict, total=False):
    """What goes with an allocation besides what it needs.

    tenant: whose it is. request_id: repeating it gives the same allocation, never
    a second; made afresh where it is not given.
    """

    tenant: str
    description: str
    labels: Mapping[str, str]
    request_id: str


class One(Wanted, Told, total=False):
    """One of many: `allocate_many([{"gpus": 4}, {"cpu": 2}])`.

    spec: instead of all that `Wanted` names, such as a `NearestFit.spec`.
    """

    spec: Spec


class Asked(One, total=False):
    """All that `allocate` takes.

    wait: "active" (all agents have admitted it) or "reserved" (the grant is on the
    broker's disk). timeout: give up after this long. wait_for_room: ask again
    for this long while there is no room. on_lost: called once, from the thread or
    loop that renews, when the lease is lost.
    """

    wait: Literal["active", "reserved"]
    timeout: Duration
    wait_for_room: Duration
    on_lost: Callable[[errors.LeaseLostError], object]


@dataclass(frozen=True, slots=True)
class Order:
    """One checked request for an allocation.

    Attributes:
        own_id: the request_id was made here: nobody else can ask for it again.
    """

    spec: Spec
    request_id: str
    own_id: bool
    tenant: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


def order(one: One) -> Order:
    """Checks all that makes one allocation.

    Raises:
        InvalidRequestError: a value cannot be meant; `fields` names the keyword.
        TypeError: there is no such keyword.
    """
    request_id = _text(one.get("request_id", ""), "request_id")
    wanted = {name: value for name, value in one.items() if name in Wanted.__annotations__}
    unknown = sorted(one.keys() - wanted.keys() - Told.__annotations__.keys() - {"spec"})
    if unknown:
        raise TypeError(f"there is no keyword {unknown[0]!r}")
    if "spec" in one and wanted:
        raise errors.invalid("spec", f"says all that {min(wanted)!r} could say: give one")
    return Order(
        spec=one["spec"] if "spec" in one else spec(wanted),
        request_id=request_id or uuid.uuid4().hex,
        own_id=not request_id,
        tenant=_text(one.get("tenant", ""), "tenant"),
        description=_text(one.get("description", ""), "description"),
        labels=_texts(one.get("labels", {}), "labels"),
    )


def spec(wanted: Mapping[str, object]) -> Spec:
    """The specification that keywords of `Wanted` say.

    Raises:
        InvalidRequestError: as `order`.
        TypeError: as `order`.
    """
    given: dict[str, object] = {}
    for name, value in wanted.items():
        if name not in _READERS:
            raise TypeError(f"there is no keyword {name!r}")
        target, read = _READERS[name]
        try:
            given[target] = read(value, name)
        except ValueError as error:
            raise errors.invalid(name, str(error)) from None
    amounts = {name: given.pop(name) for name in _AMOUNTS if name in given}
    return Spec(resources=Resources(**amounts), **given)  # type: ignore[arg-type] # by the readers


def seconds(value: Duration, name: str) -> float:
    """A length of time in seconds; zero and less are for the caller to judge.

    Raises:
        InvalidRequestError: it is none; names the keyword.
    """
    if isinstance(value, str):
        try:
            return units.parse_duration_s(value)
        except ValueError as error:
            raise errors.invalid(name, str(error)) from None
    found = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
        problem = f"{value!r} is no length of time: write 30, '10m' or a timedelta"
        raise errors.invalid(name, problem)
    return float(found)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise errors.invalid(name, f"{value!r} is no text")
    return value


def _texts(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise errors.invalid(name, f"{value!r} is no mapping of names to texts")
    return {_text(key, name): _text(each, name) for key, each in value.items()}


def _names(value: object, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence | set | frozenset):
        raise ValueError(f"{value!r} is no name and no list of names")  # noqa: TRY004 - see spec
    return tuple(_text(each, name) for each in value)


def _whole(largest: int) -> Callable[[object, str], int]:
    def read(value: object, _: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is no whole number")  # noqa: TRY004 - see spec
        if not -largest <= value <= largest:
            raise ValueError(f"{value} is out of range")
        return value

    return read


def _number(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return Fraction(str(value))


def _share(value: object, _: str) -> int:
    milli = _number(value) * 1000
    if milli.denominator != 1 or not 0 < milli < 1000:  # noqa: PLR2004 - thousandths
        raise ValueError(f"{value!r} is no share: write 0.001 to 0.999, in thousandths")
    return int(milli)


def _cores(value: object, _: str) -> int:
    return units.parse_cpu_milli(value if isinstance(value, str) else f"{float(_number(value)):f}")


def _size(value: object, _: str) -> int:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no size: write '512MiB', '40GiB' or '1.5TiB'")  # noqa: TRY004 - see spec
    return units.parse_mib(value)


def _extras(value: object, name: str) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is no mapping of names to amounts")  # noqa: TRY004 - see spec
    whole = _whole(_INT64)
    return {_text(key, name): whole(each, name) for key, each in value.items()}


def _spread(value: object, _: str) -> str:
    if value not in ("nodes", "centers", "regions"):
        raise ValueError(f"{value!r} is nothing to spread over: write nodes, centers or regions")
    return str(value)


def _power(value: object, _: str) -> int:
    return units.parse_power(f"{float(_number(value)):f}")


def _flag(value: object, _: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither True nor False")  # noqa: TRY004 - see spec
    return value


def _ttl(value: object, name: str) -> int:
    length_s = seconds(value, name)  # type: ignore[arg-type] # it checks the type itself
    if length_s != int(length_s) or not 0 < length_s <= units.YEAR_S:
        raise ValueError(f"{value!r} is out of range: whole seconds, 10 s to 365 days")
    return int(length_s)


def _contact(value: object, name: str) -> int | None:
    return units.parse_contact(_text(value, name)) or None


_AMOUNTS: Final = ("cpu_milli", "memory_mib", "disk_mib", "extras")
# Keyword to the field of the Spec, or of its resources, and what reads it.
_READERS: Final[Mapping[str, tuple[str, Callable[[object, str], object]]]] = {
    "gpus": ("gpus", _whole(_INT32)),
    "gpu_share": ("gpu_milli", _share),
    "cpu": ("cpu_milli", _cores),
    "memory": ("memory_mib", _size),
    "disk": ("disk_mib", _size),
    "extras": ("extras", _extras),
    "count": ("count", _whole(_INT32)),
    "model": ("models", _names),
    "min_gpu_memory": ("min_gpu_memory_mib", _size),
    "region": ("regions", _names),
    "center": ("centers", _names),
    "node_labels": ("node_labels", _texts),
    "spread": ("spread", _spread),
    "max_skew": ("max_skew", _whole(_INT32)),
    "pflops": ("power_gflops", _power),
    "precision": ("precision", _text),
    "mixed": ("mixed", _flag),
    "ttl": ("ttl_s", _ttl),
    "contact": ("stop_after_s", _contact),
}
