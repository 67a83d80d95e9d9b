"""The flags that ask for a specification: what `spec` reads, written.

Pure. Parsing the flags gives the specification again; amounts are written
exactly, never rounded.
"""

import shlex
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from computepool_client.cli import documents

if TYPE_CHECKING:
    from computepool.v1 import types_pb2

_GIB_MIB: Final = 1024
_DEFAULT_TTL_S: Final = 3600
_GFLOPS_PER_P: Final = 1_000_000


def command(name: str, spec: "types_pb2.AllocationSpec", tenant: str = "default") -> str:
    """A line to paste: `computepool NAME` with the flags that ask for a specification."""
    words = ["computepool", name, *flags(spec)]
    words += ["--tenant", tenant] if tenant != "default" else []
    return shlex.join(words)


def flags(spec: "types_pb2.AllocationSpec") -> list[str]:
    """The flags as words, those that say what every default says left out."""
    return [word for flag, value in _pairs(spec) for word in (flag, value) if word]


def _pairs(spec: "types_pb2.AllocationSpec") -> Iterator[tuple[str, str]]:
    yield from _power(spec)
    yield from _part(spec.part)
    if spec.count > 1:
        yield "--count", str(spec.count)
    yield from _spread(spec)
    yield from (("--region", each) for each in spec.regions)
    yield from (("--center", each) for each in spec.centers)
    for name in sorted(spec.node_labels):
        yield "--node-label", f"{name}={spec.node_labels[name]}"
    if spec.ttl_s not in (0, _DEFAULT_TTL_S):
        yield "--ttl", _duration(spec.ttl_s)
    if spec.contact.after_s:
        yield "--contact", f"stop-after:{_duration(spec.contact.after_s)}"


def _power(spec: "types_pb2.AllocationSpec") -> Iterator[tuple[str, str]]:
    if not spec.HasField("power"):
        return
    yield "--pflops", _decimal(Decimal(spec.power.gflops) / _GFLOPS_PER_P)
    if spec.power.precision:
        yield "--precision", spec.power.precision
    if spec.power.mixed:
        yield "--mixed", ""


def _part(part: "types_pb2.PartSpec") -> Iterator[tuple[str, str]]:
    if part.devices:
        yield "--gpus", str(part.devices)
    if part.device_milli:
        yield "--gpu-milli", str(part.device_milli)
    yield from (("--model", each) for each in part.models)
    if part.min_device_memory_mib:
        yield "--min-gpu-memory", _size(part.min_device_memory_mib)
    resources = part.resources
    if resources.cpu_milli:
        yield "--cpu", _decimal(Decimal(resources.cpu_milli) / 1000)
    if resources.memory_mib:
        yield "--memory", _size(resources.memory_mib)
    if resources.disk_mib:
        yield "--disk", _size(resources.disk_mib)
    for name in sorted(resources.extras):
        yield "--extra", f"{name}={resources.extras[name]}"


def _spread(spec: "types_pb2.AllocationSpec") -> Iterator[tuple[str, str]]:
    if not spec.HasField("spread"):
        return
    over = documents.enum_name(spec.spread, "over").removeprefix("SPREAD_OVER_").lower()
    if over != "unspecified":
        yield "--spread", over
        if spec.spread.max_skew:
            yield "--max-skew", str(spec.spread.max_skew)


def _size(mib: int) -> str:
    return f"{mib}MiB" if mib % _GIB_MIB else f"{mib // _GIB_MIB}GiB"


def _duration(seconds: int) -> str:
    words = []
    for unit, length_s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length_s)
        words.append(f"{count}{unit}" * bool(count))
    return "".join(words)


def _decimal(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
