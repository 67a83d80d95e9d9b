"""`computepool brokers`: the equal brokers of the pool that live."""

from typing import TYPE_CHECKING

import typer

from computepool_client.cli import documents, flags, repeating, screen, units
from computepool_client.cli.connection import Printing
from computepool_client.cli.repeating import Repeat

if TYPE_CHECKING:
    from computepool.v1 import inventory_pb2


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "brokers", "Look")(brokers)


def brokers(connection: Printing, repeat: Repeat) -> None:
    """List the brokers that live, the one that answers first.

    beat is the time since a broker's last sign of life; chores marks the one that
    expires leases and audits; behind is how many commits of the store it had not
    seen then, so under load it is never quite 0 for others.
    """
    with connection.client() as pool:

        def show(found: "inventory_pb2.ListBrokersResponse") -> None:
            if connection.as_json:
                documents.dump(documents.document(found), line=repeat.watch)
            elif connection.names_only:
                for each in found.brokers:
                    screen.say_name(each.name)
            else:
                _show(found, wide=connection.wide)

        repeating.run(connection, repeat, pool.brokers, show)


def _show(found: "inventory_pb2.ListBrokersResponse", *, wide: bool) -> None:
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    columns = (
        render.Column("broker", fold=True),
        render.Column("address", fold=True),
        render.Column("beat", numbers=True),
        render.Column("up for", numbers=True, dispensable=1),
        render.Column("agents", numbers=True),
        render.Column("chores"),
        render.Column("revision", numbers=True, dispensable=2),
        render.Column("behind", numbers=True),
        render.Column("version", dispensable=3),
    )
    newest = max((each.revision for each in found.brokers), default=0)
    rows = (_row(each, newest) for each in found.brokers)
    render.show(screen.stdout(), columns, rows, wide=wide)


def _row(broker: "inventory_pb2.Broker", newest: int) -> tuple[str, ...]:
    return (
        broker.name,
        broker.address,
        units.age(broker.beat_age_ms),
        units.age(broker.uptime_ms),
        f"{broker.agents:,}",
        "yes" if broker.chores else "-",
        f"{broker.revision:,}",
        f"{newest - broker.revision:,}",
        broker.version,
    )
