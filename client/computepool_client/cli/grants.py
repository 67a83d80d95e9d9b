"""An allocation as text: where it is, its devices, when it expires, what to paste."""

import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from computepool_client.cli import documents, screen, units

if TYPE_CHECKING:
    from rich.text import Text

    from computepool.v1 import allocation_pb2, types_pb2

_WHOLE_MILLI: Final = 1000
_MOST_PLACES: Final = 3
_LIVE: Final = ("RESERVED", "ACTIVE")
_VARIABLES: Final = (
    ("Ascend", "ASCEND_RT_VISIBLE_DEVICES"),
    ("MI3", "ROCR_VISIBLE_DEVICES"),
    ("MLU", "MLU_VISIBLE_DEVICES"),
)


def state_of(allocation: "allocation_pb2.Allocation") -> str:
    """The last word of its state, and how it ended: "ACTIVE", "ENDED (EXPIRED)"."""
    state = documents.enum_name(allocation, "state").removeprefix("ALLOCATION_STATE_")
    end = documents.enum_name(allocation, "end_reason").removeprefix("END_REASON_")
    return state if end == "UNSPECIFIED" else f"{state} ({end})"


def is_live(allocation: "allocation_pb2.Allocation") -> bool:
    """Has not ended for its tenant."""
    return state_of(allocation) in _LIVE


def asked_for(spec: "types_pb2.AllocationSpec") -> str:
    """What was asked for, in short: "2 parts of 1 A100 or H800, 4 cores, 32 GiB memory"."""
    part = spec.part
    wanted = [_power_wanted(spec) if spec.HasField("power") else _devices_wanted(part)]
    each = " per device" * spec.HasField("power")
    wanted += [amount + each for amount in _amounts(part.resources)]
    text = ", ".join(word for word in wanted if word)
    text = f"{spec.count} parts of {text}" if spec.count > 1 else text
    return text + _spread_wanted(spec)


def _amounts(resources: "types_pb2.Resources") -> list[str]:
    """Amounts besides devices, in words."""
    amounts = [units.cores(resources.cpu_milli)] * bool(resources.cpu_milli)
    amounts += [f"{units.size(resources.memory_mib)} memory"] * bool(resources.memory_mib)
    amounts += [f"{units.size(resources.disk_mib)} disk"] * bool(resources.disk_mib)
    return amounts + [f"{resources.extras[name]} {name}" for name in sorted(resources.extras)]


def _power_wanted(spec: "types_pb2.AllocationSpec") -> str:
    """Like "2.5 P at fp16 of A100 or H800"."""
    precision = spec.power.precision or "fp16"
    models = " or ".join(spec.part.models) or "any model"
    mixed = ", mixed" * spec.power.mixed
    least = _least_memory(spec.part)
    return f"{units.power(spec.power.gflops)} P at {precision} of {models}{mixed}{least}"


def _spread_wanted(spec: "types_pb2.AllocationSpec") -> str:
    if not spec.HasField("spread"):
        return ""
    over = documents.enum_name(spec.spread, "over").removeprefix("SPREAD_OVER_").lower()
    skew = spec.spread.max_skew or 1
    return f", spread over {over}" + (f" with a skew of {skew}" if skew > 1 else "")


def places(allocation: "allocation_pb2.Allocation") -> str:
    """Its node, or its centers with the number of parts in each when they are several."""
    counts: dict[str, int] = {}
    for lease in allocation.leases:
        counts[lease.center] = counts.get(lease.center, 0) + 1
    if len(allocation.leases) == 1:
        return allocation.leases[0].node
    named = [f"{center} x {count}" for center, count in counts.items()]
    more = len(named) - _MOST_PLACES
    if more <= 1:  # as short as to say that there is one more
        return ", ".join(named)
    return ", ".join(named[:_MOST_PLACES]) + f" and {more} more centers"


def expiry(allocation: "allocation_pb2.Allocation") -> str:
    """Time left until it expires; "-" when it has ended for its tenant."""
    left = allocation.remaining_ttl_ms
    return units.duration(left) if is_live(allocation) and left else "-"


def ack_of(answer: "allocation_pb2.CreateAllocationResponse") -> str:
    """What an answer guarantees: "durable"; empty when it does not say."""
    level = documents.enum_name(answer, "ack_level").removeprefix("ACK_LEVEL_").lower()
    return "" if level == "unspecified" else level


def show(allocation: "allocation_pb2.Allocation", *, wide: bool = False, ack: str = "") -> None:
    """Prints everything a tenant needs to know, the lines to paste last."""
    screen.say(f"Allocation {allocation.id} is {state_of(allocation)}.", "bold")
    for name, text in [*_facts(allocation), *([("ack level", ack)] if ack else [])]:
        screen.say(f"  {name:<12}{text}")
    if allocation.leases:
        show_leases(allocation.leases, with_state=True, wide=wide)
    if state_of(allocation) == "ACTIVE":
        screen.say("To use it, paste this in the shell that starts your work:")
        for line in export_lines(allocation):
            screen.say_whole(line)
    elif state_of(allocation) == "RESERVED":
        screen.say(
            "Not all agents have admitted their part yet, so a place may still change."
            f" See again: computepool get {allocation.id}"
        )


def show_leases(
    leases: "Iterable[allocation_pb2.Lease]", *, with_state: bool, wide: bool = False
) -> None:
    """Prints where each part is, on which devices, and how far it has come."""
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    columns = [
        render.Column("part", numbers=True),
        render.Column("node", fold=True, least=20),
        render.Column("center", fold=True, least=20, dispensable=1),
        render.Column("region", fold=True, dispensable=2),
        render.Column("model"),
        render.Column("devices", fold=True, least=41),
    ]
    if with_state:
        columns.append(render.Column("state"))
    if wide:
        columns += [render.Column(each) for each in ("besides devices", "lease")]
    rows = [_lease_row(lease)[: len(columns)] for lease in leases]
    render.show(screen.stdout(), columns, rows, wide=wide)


def _lease_row(lease: "allocation_pb2.Lease") -> "tuple[str | Text, ...]":
    from computepool_client.cli import render  # noqa: PLC0415 - see above

    return (
        str(lease.index),
        lease.node,
        lease.center,
        lease.region,
        lease.model or "-",
        render.lines([_device(each) for each in lease.devices]),
        documents.enum_name(lease, "state").removeprefix("LEASE_STATE_"),
        ", ".join(_amounts(lease.resources)) or "-",
        lease.id,
    )


def export_lines(allocation: "allocation_pb2.Allocation") -> list[str]:
    """Shell lines that name the allocation and its devices, a block for each node.

    Which variable a runtime heeds depends on the maker of the devices.
    """
    by_node: dict[tuple[str, str], list[str]] = {}
    for lease in allocation.leases:
        place = (lease.node, _variable(lease.model))
        by_node.setdefault(place, []).extend(each.device_id for each in lease.devices)
    lines = []
    for (node, variable), devices in by_node.items():
        if len(by_node) > 1:
            lines.append(f"# on {screen.clean(node)}")
        lines.append(
            f"export COMPUTEPOOL_ALLOCATION={shlex.quote(allocation.id)}"
            f" COMPUTEPOOL_NODE={shlex.quote(node)}"
            f" {variable}={shlex.quote(','.join(devices))}"
        )
    return lines


def _variable(model: str) -> str:
    for prefix, variable in _VARIABLES:
        if model.startswith(prefix):
            return variable
    return "CUDA_VISIBLE_DEVICES"


def _facts(allocation: "allocation_pb2.Allocation") -> Iterator[tuple[str, str]]:
    yield "tenant", allocation.tenant
    yield "asked for", asked_for(allocation.spec)
    if allocation.power_gflops:
        yield "gives", f"{units.power(allocation.power_gflops)} P"
    if allocation.request_id:
        yield "request id", allocation.request_id
    if is_live(allocation):
        yield (
            "expires in",
            f"{expiry(allocation)} unless renewed: computepool renew {allocation.id}",
        )
    if allocation.end_message:
        yield "ended", allocation.end_message
    if allocation.description:
        yield "description", allocation.description
    if allocation.labels:
        labels = (f"{name}={allocation.labels[name]}" for name in sorted(allocation.labels))
        yield "labels", " ".join(labels)
    if allocation.adopted:
        yield "adopted", "brought back from the journals of agents after the store was lost"
    for flag in allocation.flags:
        yield "flag", flag


def _devices_wanted(part: "types_pb2.PartSpec") -> str:
    if not part.devices and not part.device_milli:
        return ""
    amount = units.thousandths(part.device_milli or part.devices * _WHOLE_MILLI)
    many = "s" * (part.devices > 1)
    return f"{amount} {' or '.join(part.models) or 'device' + many}{_least_memory(part)}"


def _least_memory(part: "types_pb2.PartSpec") -> str:
    memory = part.min_device_memory_mib
    return f" with {units.size(memory)} or more" if memory else ""


def _device(share: "types_pb2.DeviceShare") -> str:
    part = "" if share.milli == _WHOLE_MILLI else f" ({units.thousandths(share.milli)})"
    return share.device_id + part
