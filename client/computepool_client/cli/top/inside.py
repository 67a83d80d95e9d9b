"""What is in one center: its nodes, their devices, the leases on them. Pure."""

from typing import TYPE_CHECKING, Final

from computepool_client.cli import documents, units
from computepool_client.cli.top import pieces
from computepool_client.cli.top.board import Board, Detail
from computepool_client.cli.top.pieces import NOTHING, Line, Piece, Style, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from computepool.v1 import allocation_pb2, inventory_pb2

_WHOLE_MILLI: Final = 1000
_UNHEALTHY: Final = "DEVICE_HEALTH_UNHEALTHY"


def head(board: Board, center: str, endpoint: str, now_s: float, width: int) -> tuple[Line, ...]:
    """The lines above the tables: what the view says of the center."""
    row = board.centers.get(center)
    parts: list[Line] = [(Piece(center, Style.STRONG),)]
    if row is None:
        parts.append((Piece("no such center in the view", Style.WARN),))
        return (*pieces.spread(parts, width), *_silence(board, now_s))
    sums = row.sums
    what = "cores" if row.cores else "devices"
    use = "-" if sums.use is None else f"{100 * sums.use:.1f} %"
    parts += [
        (Piece(f"{row.region} {f'({row.role})' * bool(row.role)}".strip(), Style.DIM),),
        (Piece(row.state, Style.GOOD if row.state == "open" else Style.WARN),),
        (Piece(f"{units.thousandths(sums.total)} {what}, {use} used"),),
        (Piece(f"{units.thousandths(sums.free)} free"),),
        (Piece(f"{units.thousandths(sums.granted)} granted", Style.OURS),),
        (Piece(f"{units.thousandths(sums.foreign)} foreign", Style.OTHERS),),
        (Piece(f"{row.agents_active} of {row.agents} agents active"),),
        (Piece(f"heard {units.age(row.age_at(now_s))} ago", Style.DIM),),
        (Piece(endpoint, Style.DIM),),
    ]
    if row.cordon_message:
        parts.append((Piece(f"cordoned: {row.cordon_message}", Style.WARN),))
    return (*pieces.spread(parts, width), *_silence(board, now_s))


def _silence(board: Board, now_s: float) -> tuple[Line, ...]:
    silent_s = board.silent_for_s(now_s)
    if silent_s is None:
        return ()
    return ((Piece(f"no answer for {silent_s:.0f} s  {board.trouble}", Style.ALARM),),)


def remarks(detail: Detail) -> str:
    """What the tables leave out; empty when they have everything."""
    left = []
    if detail.more_nodes:
        left.append(f"the first {len(detail.nodes)} nodes")
    if detail.more_allocations:
        left.append(f"{len(detail.allocations)} allocations, there may be more")
    more = f"computepool nodes --center {detail.center}"
    return f"shown: {', '.join(left)}; the rest: {more}" if left else ""


def nodes(found: "Sequence[inventory_pb2.Node]", width: int) -> Table:
    """The nodes, with what each has free."""
    table = Table(
        ("node", "state", "devices free", "cores free", "memory free", "leases", "age"),
        (False, False, False, True, True, True, True),
        tuple(each.name for each in found),
        tuple(_node(each) for each in found),
    )
    return pieces.fitted(table, (0, 0, 0, 2, 3, 0, 1), width)


def _node(node: "inventory_pb2.Node") -> Line:
    from computepool_client.cli.nodes import devices  # noqa: PLC0415 - it registers a command

    state = "open" if node.schedulable else " ".join(node.blockers) or "closed"
    return (
        Piece(node.name),
        Piece(state, Style.DIM if node.schedulable else Style.WARN),
        Piece(devices(node)) if node.devices else NOTHING,
        Piece(units.thousandths(_left(node, "cpu_milli"))),
        Piece(units.size(_left(node, "memory_mib"))),
        Piece(f"{node.leases:,}", Style.OURS if node.leases else Style.DIM),
        Piece(units.age(node.age_ms), Style.DIM),
    )


def _left(node: "inventory_pb2.Node", name: str) -> int:
    used = (node.reserved, node.foreign, node.granted)
    left: int = getattr(node.total, name) - sum(getattr(each, name) for each in used)
    return max(0, left)


def devices(found: "Sequence[inventory_pb2.Node]", width: int) -> Table:
    """Every device of the nodes."""
    every = [(node.name, each) for node in found for each in node.devices]
    table = Table(
        ("node", "device", "model", "memory", "granted", "foreign", "state"),
        (False, False, False, True, True, True, False),
        tuple(f"{node}\n{each.device.id}" for node, each in every),
        tuple(_device(*each) for each in every),
    )
    return pieces.fitted(table, (1, 0, 0, 2, 0, 0, 0), width)


def _device(node: str, device: "inventory_pb2.NodeDevice") -> Line:
    known = device.device
    sick = documents.enum_name(known, "health") == _UNHEALTHY
    state = "gone" if device.gone else "unhealthy" if sick else "healthy"
    return (
        Piece(node, Style.DIM),
        Piece(known.id),
        Piece(known.model),
        Piece(units.size(known.memory_mib)) if known.memory_mib else NOTHING,
        _share(device.granted_milli, Style.OURS),
        _share(known.foreign_milli, Style.OTHERS),
        Piece(state, Style.DIM if state == "healthy" else Style.ALARM),
    )


def _share(milli: int, style: Style) -> Piece:
    return Piece(units.percent(milli, _WHOLE_MILLI) + " %", style) if milli else NOTHING


def leases(detail: Detail, width: int) -> Table:
    """The leases in the center, by allocation."""
    mine = [
        (allocation, lease)
        for allocation in detail.allocations
        for lease in allocation.leases
        if lease.center == detail.center
    ]
    table = Table(
        ("allocation", "tenant", "state", "node", "devices", "cores", "time left"),
        (False, False, False, False, False, True, True),
        tuple(lease.id for _, lease in mine),
        tuple(_lease(*each) for each in mine),
    )
    return pieces.fitted(table, (0, 1, 0, 3, 0, 2, 0), width)


def _lease(allocation: "allocation_pb2.Allocation", lease: "allocation_pb2.Lease") -> Line:
    state = documents.enum_name(lease, "state").removeprefix("LEASE_STATE_")
    held = sum(share.milli for share in lease.devices)
    cores = lease.resources.cpu_milli
    parts = f" {lease.index + 1}/{len(allocation.leases)}" if len(allocation.leases) > 1 else ""
    return (
        Piece(allocation.id + parts),
        Piece(allocation.tenant),
        Piece(state, Style.PLAIN if state == "STARTED" else Style.WARN),
        Piece(lease.node),
        Piece(f"{units.thousandths(held)} {lease.model}", Style.OURS) if held else NOTHING,
        Piece(units.thousandths(cores)) if cores else NOTHING,
        Piece(units.duration(allocation.remaining_ttl_ms))
        if allocation.remaining_ttl_ms
        else NOTHING,
    )
