"""`computepool get`, `list`, `renew` and `release`: allocations that exist."""

import time
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client import errors
from computepool_client.cli import documents, exits, flags, grants, screen, units
from computepool_client.cli.connection import Connection

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2

_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of an allocation.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    flags.command(app, "get", "Allocate")(get)
    flags.command(app, "list", "Allocate")(list_)
    flags.command(app, "renew", "Allocate")(renew)
    flags.command(app, "release", "Allocate")(release)


def get(connection: Connection, allocation: _Id) -> None:
    """Show one allocation: state, place, devices, expiry, what to paste."""
    with connection.client() as pool:
        found = pool.get(allocation)
    if connection.as_json:
        documents.dump({"allocation": documents.document(found)})
    else:
        grants.show(found)


def list_(
    connection: Connection,
    tenant: Annotated[
        str, typer.Option(metavar="NAME", show_default="all", help="Only this tenant's.")
    ] = "",
    every: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--all", help="Also those that have ended; they are kept for an hour.")
    ] = False,
) -> None:
    """List allocations in the order of their creation."""
    with connection.client() as pool:
        found = list(pool.allocations(tenant, include_ended=every))
    if connection.as_json:
        documents.dump({"allocations": documents.documents(found)})
    elif found:
        _print(found)
    else:
        screen.say("No allocations." if every else "No live allocations.")


def renew(
    connection: Connection,
    allocation: _Id,
    ttl: Annotated[
        int,
        typer.Option(
            metavar="DURATION",
            parser=flags.parser(units.parse_whole_seconds),
            show_default="as it was",
            help="A new time to live from now on: 10s to 365d.",
        ),
    ] = 0,
) -> None:
    """Make the time to live of an allocation start anew. Status 6 when it has ended."""
    with connection.client() as pool:
        found = pool.renew(allocation, ttl_s=ttl)
    if connection.as_json:
        documents.dump({"allocation": documents.document(found)})
    else:
        screen.say(f"Renewed {found.id}: it expires in {grants.expiry(found)}.")


def release(
    connection: Connection,
    allocation: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of allocations to give back.")
    ],
    message: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for people; at most 1024 characters.")
    ] = "",
) -> None:
    """Give allocations back; an ended one is shown as it is.

    They end for the tenant at once; the devices come back when the agents have
    confirmed that nothing is left on them. One that fails does not keep the
    others from being released; the status is that of the first failure.
    """
    released: list[allocation_pb2.Allocation] = []
    statuses: list[int] = []
    with connection.client() as pool:
        for each in allocation:
            try:
                released.append(pool.release(each, message=message))
            except errors.PoolError as error:
                statuses.append(exits.tell(error, as_json=connection.as_json))
                continue
            if not connection.as_json:
                screen.say(f"Released {each}: it is {grants.state_of(released[-1])}.")
    if connection.as_json:
        documents.dump({"allocations": documents.documents(released)})
    if statuses:
        raise typer.Exit(statuses[0])


def _print(found: "list[allocation_pb2.Allocation]") -> None:
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
    if described:
        columns.append(render.Column("description", fold=True))
    now_ms = int(time.time() * 1000)
    rows = (chain(_row(each, now_ms), [each.description] * described) for each in found)
    render.show(screen.stdout(), columns, [tuple(row) for row in rows])


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
    )
