"""`computepool centers`: the centers of the pool, one a line."""

from typing import TYPE_CHECKING

import typer

from computepool_client.cli import flags, listing, screen, units, view_rows
from computepool_client.cli.connection import Printing
from computepool_client.cli.precision import Precision
from computepool_client.cli.repeating import Repeat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from computepool.v1 import inventory_pb2


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "centers", "Look")(centers)


def centers(
    connection: Printing, query: listing.Query, repeat: Repeat, precision: Precision = ""
) -> None:
    """List centers: nodes, devices in all, free and open, power, use, agents, age.

    open is the part of what is free that can be had now: it is on nodes that
    take new grants. Amounts are devices (a center without devices: cores).
    """
    listing.run(
        connection,
        query,
        repeat,
        _KIND,
        lambda pool: pool.centers(
            precision,
            filter_by=query.filter_by,
            order_by=query.order_by,
            page_size=query.page_size,
        ),
    )


def _show(found: "Sequence[inventory_pb2.Center]", wide: bool) -> None:  # noqa: FBT001 - a form
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    noted = any(view_rows.center_row(each.view).notes for each in found)
    columns = [
        render.Column("center", fold=True, least=20),
        render.Column("region", fold=True, dispensable=3),
        render.Column("role", dispensable=5),
        render.Column("nodes\nopen/all", numbers=True, dispensable=2),
        render.Column("total", numbers=True),
        render.Column("free", numbers=True, dispensable=1),
        render.Column("open", numbers=True),
        render.Column("P", numbers=True),
        render.Column("use\n%", numbers=True),
        render.Column("agents", numbers=True, dispensable=4),
        render.Column("age", numbers=True),
        render.Column("note", fold=True, least=10, dispensable=0 if noted else 6),
    ]
    if wide:
        columns += [
            render.Column(each, numbers=True)
            for each in ("foreign", "granted", "in flight", "releasing", "oldest\nin flight")
        ]
        columns += [render.Column("models"), render.Column("cordoned for")]
    rows = ((*_row(each), *_more(each.view))[: len(columns)] for each in found)
    render.show(screen.stdout(), columns, rows, wide=wide)


def _row(center: "inventory_pb2.Center") -> "tuple[str | Text, ...]":
    view = center.view
    row = view_rows.center_row(view)
    sums = row.sums or view_rows.Sums()
    used, there = view_rows.use(sums)
    return (
        view.center,
        center.region,
        center.role,
        f"{view.nodes_schedulable:,}/{view.nodes:,}",
        units.thousandths(sums.total) + " cores" * row.cores,
        units.thousandths(sums.free),
        units.thousandths(sums.schedulable),
        units.power(row.power.peak) if row.power.peak else "-",
        units.percent(used, there),
        f"{view.agents_active}/{view.agents}",
        units.age(view.age_ms),
        ", ".join(row.notes) or "-",
    )


def _more(view: "inventory_pb2.CenterView") -> tuple[str, ...]:
    sums = view_rows.center_row(view).sums or view_rows.Sums()
    amounts = (sums.foreign, sums.granted, sums.in_flight, sums.releasing)
    return (
        *(units.thousandths(each) for each in amounts),
        units.age(view.in_flight_age_ms) if view.in_flight_age_ms else "-",
        ", ".join(each.model for each in view.models) or "-",
        view.cordon_message or "-",
    )


_KIND: "listing.Kind[inventory_pb2.Center]" = listing.Kind(
    "centers", "No centers.", lambda center: center.view.center, _show
)
