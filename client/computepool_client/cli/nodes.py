"""`computepool nodes`: the servers of the pool, with what each has free."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client.cli import documents, flags, listing, screen, units
from computepool_client.cli.connection import Printing
from computepool_client.cli.repeating import Repeat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from computepool.v1 import inventory_pb2

_WHOLE_MILLI = 1000
# The protocol's blockers, as short as a column wants them.
_BLOCKERS = {
    "CENTER_CORDONED": "center cordoned",
    "AGENT_NOT_ACTIVE": "silent",
    "UNSCHEDULABLE": "closed",
}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "nodes", "Look")(nodes)


@dataclass(frozen=True, slots=True)
class NodeQuery(listing.Query):
    """Nodes are many: a list shows the first hundred unless told otherwise."""

    limit: listing.Limit = 100


def nodes(
    connection: Printing,
    query: NodeQuery,
    repeat: Repeat,
    center: Annotated[str, typer.Option(metavar="NAME", help="Only this center's nodes.")] = "",
) -> None:
    """List nodes by name: state, free and total devices, cores, memory, disk, leases, age.

    state is open where a node takes new grants, else why it takes none:
    cordoned, or its center is; silent, its agent is not active; suspect, its
    agent refused a lease and has not measured anew; closed by its agent's word;
    gone from its agent's reports; conflict with the ledger. What is free on a
    node that is not open cannot be had now.
    """
    listing.run(
        connection,
        query,
        repeat,
        replace(_KIND, none=f"No nodes at {center!r}; `computepool centers` lists the centers.")
        if center
        else _KIND,
        lambda pool: pool.nodes(
            center,
            filter_by=query.filter_by,
            order_by=query.order_by,
            page_size=query.page_size,
        ),
    )


def _show(found: "Sequence[inventory_pb2.Node]", wide: bool) -> None:  # noqa: FBT001 - a form
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    columns = [
        render.Column("node", fold=True, least=22),
        render.Column("center", fold=True, least=20, dispensable=2),
        render.Column("state", fold=True),
        render.Column("devices\nfree/all", fold=True, least=16),
        render.Column("cores\nfree", numbers=True),
        render.Column("memory\nfree", numbers=True),
        render.Column("disk\nfree", numbers=True, dispensable=1),
        render.Column("leases", numbers=True),
        render.Column("age", numbers=True),
    ]
    if wide:
        columns += [render.Column(each) for each in ("region", "agent", "labels", "cordoned for")]
    rows = ((*_row(node), *_more(node))[: len(columns)] for node in found)
    render.show(screen.stdout(), columns, rows, wide=wide)


def _more(node: "inventory_pb2.Node") -> tuple[str, ...]:
    labels = " ".join(f"{name}={node.labels[name]}" for name in sorted(node.labels))
    return (node.region, node.agent, labels or "-", node.cordon_message or "-")


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
        _state(node),
        devices(node) or "-",
        units.thousandths(free["cpu_milli"]),
        units.size(free["memory_mib"]),
        units.size(free["disk_mib"]),
        f"{node.leases:,}",
        units.age(node.age_ms),
    )


def _state(node: "inventory_pb2.Node") -> str:
    if node.schedulable:
        return "open"
    return ", ".join(_BLOCKERS.get(each, each.lower()) for each in node.blockers) or "closed"


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
_KIND: "listing.Kind[inventory_pb2.Node]" = listing.Kind(
    "nodes", "No nodes.", lambda node: node.name, _show
)
