"""Amounts and requests as a person would say them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.model.accelerators import GFLOPS_PER_P
from computepool_broker.model.request import SpreadOver

if TYPE_CHECKING:
    from computepool_broker.model.request import PartSpec, Spec

CORE_MILLI = 1000
GIB = 1024
DOMAINS = {
    SpreadOver.NODES: "nodes",
    SpreadOver.CENTERS: "centers",
    SpreadOver.REGIONS: "regions",
}


def counted(count: int, word: str) -> str:
    """So many of something."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def cores(milli: int) -> str:
    """Processor time."""
    return f"{milli / 1000:g} {'core' if milli == CORE_MILLI else 'cores'}"


def size(mib: int) -> str:
    """Memory or disk, in the unit that gives a whole number."""
    return f"{mib} MiB" if mib % GIB else f"{mib // GIB} GiB"


def power(gflops: int) -> str:
    """Computing power in P."""
    return f"{gflops / GFLOPS_PER_P:.10g} P"


def share(milli: int) -> str:
    """A share of a device."""
    return f"{milli}/1000 of one device"


def missing(resource: str, amount: int) -> str:
    """What is missing of a resource."""
    if resource == "cpu_milli":
        return cores(amount)
    if resource == "device_milli":
        return f"{amount}/1000 of a device"
    if resource in ("memory_mib", "disk_mib"):
        return f"{amount} MiB {resource.removesuffix('_mib')}"
    if resource in ("devices", "parts"):
        return counted(amount, resource.removesuffix("s"))
    if resource == "gflops":
        return power(amount)
    return f"{amount} {resource}"


def request(spec: Spec) -> str:
    """What is asked for, in a few words; without where."""
    what = ", ".join(_wants(spec.shape.part)) or "a part"
    if spec.power is not None:
        mixed = ", mixed" if spec.power.mixed else ""
        models = "/".join(spec.shape.part.models) or "any model"
        with_each = ", ".join(_wants(spec.shape.part))
        each = f" with {with_each} for each device" if with_each else ""
        return f"{power(spec.power.gflops)} {spec.power.precision} ({models}{mixed}){each}"
    if spec.parts == 1:
        return what
    over = ""
    if spec.spread is not None:
        over = f" spread over {DOMAINS[spec.spread.over]} with a skew of {spec.spread.max_skew}"
    return f"{spec.parts} x ({what}){over}"


def _wants(part: PartSpec) -> list[str]:
    wants = []
    if part.devices or part.device_milli:
        models = "/".join(part.models) or "any model"
        amount = counted(part.devices, "device") if part.devices else share(part.device_milli)
        wants.append(f"{amount} ({models})")
    if part.cpu_milli:
        wants.append(cores(part.cpu_milli))
    if part.memory_mib:
        wants.append(f"{part.memory_mib} MiB memory")
    if part.disk_mib:
        wants.append(f"{part.disk_mib} MiB disk")
    return wants + [f"{amount} {name}" for name, amount in part.extras]
