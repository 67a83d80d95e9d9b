"""`computepool get` and `list`: allocations that exist."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client.cli import documents, flags, grants, listing, repeating, screen, units
from computepool_client.cli.connection import Printing
from computepool_client.cli.repeating import Repeat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from computepool.v1 import allocation_pb2

_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of an allocation.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    flags.command(app, "get", "Allocate")(get)
    flags.command(app, "list", "Allocate")(list_)


def get(connection: Printing, allocation: _Id, repeat: Repeat) -> None:
    """Show one allocation: state, place, devices, expiry, what to paste."""
    with connection.client() as pool:

        def show(found: "allocation_pb2.Allocation") -> None:
            if connection.as_json:
                documents.dump({"allocation": documents.document(found)}, line=repeat.watch)
            elif connection.names_only:
                screen.say_name(found.id)
            else:
                grants.show(found, wide=connection.wide)

        repeating.run(connection, repeat, lambda: pool.get(allocation), show)


def list_(
    connection: Printing,
    query: listing.Query,
    repeat: Repeat,
    tenant: Annotated[
        str, typer.Option(metavar="NAME", show_default="all", help="Only this tenant's.")
    ] = "",
    every: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--all", help="Also those that have ended; they are kept for an hour.")
    ] = False,
) -> None:
    """List allocations in the order of their creation."""
    none = "No allocations." if every else "No live allocations."
    no_match = "" if every else "No live allocation matches; --all looks at those that ended, too."
    listing.run(
        connection,
        query,
        repeat,
        listing.Kind("allocations", none, lambda each: each.id, _show, no_match),
        lambda pool: pool.allocations(
            tenant,
            include_ended=every,
            filter_by=query.filter_by,
            order_by=query.order_by,
            page_size=query.page_size,
        ),
    )


def _show(found: "Sequence[allocation_pb2.Allocation]", wide: bool) -> None:  # noqa: FBT001 - a form
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    described = any(each.description for each in found)
    columns = [
        render.Column("id"),
        render.Column("tenant", fold=True, dispensable=2),
        render.Column("state", fold=True),
        render.Column("asked for", fold=True),
        render.Column("where", fold=True),
        render.Column("expires\nin", numbers=True),
        render.Column("granted", numbers=True, dispensable=1),
    ]
    if described or wide:
        columns.append(render.Column("description", fold=True))
    if wide:
        columns += [render.Column(each) for each in ("labels", "request id", "ended")]
    now_ms = int(time.time() * 1000)
    rows = (_row(each, now_ms)[: len(columns)] for each in found)
    render.show(screen.stdout(), columns, rows, wide=wide)


def _row(allocation: "allocation_pb2.Allocation", now_ms: int) -> tuple[str, ...]:
    ago_ms = max(0, now_ms - allocation.create_time.ToMilliseconds())
    return (
        allocation.id,
        allocation.tenant,
        grants.state_of(allocation),
        grants.asked_for(allocation.spec),
        grants.places(allocation) or "-",
        grants.expiry(allocation),
        f"{units.age(ago_ms)} ago" if allocation.HasField("create_time") else "-",
        allocation.description,
        " ".join(f"{name}={allocation.labels[name]}" for name in sorted(allocation.labels)),
        allocation.request_id,
        allocation.end_message,
    )
