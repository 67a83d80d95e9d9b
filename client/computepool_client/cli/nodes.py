"""`computepool nodes`: the servers of the pool, with what each has free."""

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client.cli import documents, flags, screen, units
from computepool_client.cli.connection import Connection

if TYPE_CHECKING:
    from computepool.v1 import inventory_pb2

_WHOLE_MILLI = 1000


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "nodes", "Look")(nodes)


def nodes(
    connection: Connection,
    center: Annotated[str, typer.Option(metavar="NAME", help="Only this center's nodes.")] = "",
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show at most this many nodes; 0 shows all.")
    ] = 100,
) -> None:
    """List nodes by name: state, free and total devices, cores, memory, disk, leases, age."""
    # One more than is shown tells whether there are more.
    wanted = limit + 1 if limit else None
    with connection.client() as pool:
        found = list(islice(pool.nodes(center, page_size=min(wanted or 500, 500)), wanted))
    more = bool(limit) and len(found) > limit
    found = found[:limit] if limit else found
    if connection.as_json:
        documents.dump({"nodes": documents.documents(found), "more": more})
        return
    _print(found)
    if more:
        screen.remark(f"There are more than {limit} nodes: --limit 0 shows all.")


def _print(found: "list[inventory_pb2.Node]") -> None:
    if not found:
        screen.say("No nodes.")
        return
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    columns = (
        render.Column("node", fold=True, least=22),
        render.Column("center", fold=True, least=20, dispensable=2),
        render.Column("state", fold=True),
        render.Column("devices\nfree/all", fold=True, least=16),
        render.Column("cores\nfree", numbers=True),
        render.Column("memory\nfree", numbers=True),
        render.Column("disk\nfree", numbers=True, dispensable=1),
        render.Column("leases", numbers=True),
        render.Column("age", numbers=True),
    )
    render.show(screen.stdout(), columns, (_row(node) for node in found))


def _row(node: "inventory_pb2.Node") -> tuple[str, ...]:
    free = {
        name: max(
            0,
            getattr(node.total, name)
            - getattr(node.reserved, name)
            - getattr(node.foreign, name)
            - getattr(node.granted, name),
        )
        for name in ("cpu_milli", "memory_mib", "disk_mib")
    }
    return (
        node.name,
        node.center,
        "open" if node.schedulable else " ".join(node.blockers) or "closed",
        devices(node) or "-",
        units.thousandths(free["cpu_milli"]),
        units.size(free["memory_mib"]),
        units.size(free["disk_mib"]),
        f"{node.leases:,}",
        units.age(node.age_ms),
    )


def devices(node: "inventory_pb2.Node") -> str:
    """Free and all devices of a node by model: "A100 3/8"."""
    total: Counter[str] = Counter()
    free: Counter[str] = Counter()
    for each in node.devices:
        usable = not each.gone and documents.enum_name(each.device, "health") != _UNHEALTHY
        there = _WHOLE_MILLI if usable else 0
        total[each.device.model] += there
        free[each.device.model] += max(0, there - each.device.foreign_milli - each.granted_milli)
    return ", ".join(
        f"{model} {units.thousandths(free[model])}/{units.thousandths(total[model])}"
        for model in sorted(total)
    )


_UNHEALTHY = "DEVICE_HEALTH_UNHEALTHY"
