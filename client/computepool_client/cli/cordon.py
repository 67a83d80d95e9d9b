"""`computepool cordon` and `uncordon`: no new grants on a node or a center, and again."""

import shlex
from dataclasses import dataclass
from typing import Annotated

import typer

from computepool_client.cli import documents, flags, screen
from computepool_client.cli.connection import Connection


@dataclass(frozen=True, slots=True)
class Target:
    """A node or a center."""

    node: Annotated[str, typer.Option(metavar="NAME", help="Name of a node.")] = ""
    center: Annotated[
        str, typer.Option(metavar="NAME", help="Name of a center: all its nodes.")
    ] = ""

    def field(self) -> dict[str, str]:
        """The one of the two that was given, as a field of a request.

        Raises:
            typer.BadParameter: none or both were given.
        """
        if bool(self.node) == bool(self.center):
            raise typer.BadParameter("give one of the two", param_hint="--node / --center")
        return {"node": self.node} if self.node else {"center": self.center}

    def flag(self) -> str:
        """The flag that names it, to paste."""
        name = self.node or self.center
        return f"{'--node' if self.node else '--center'} {shlex.quote(screen.clean(name))}"

    def __str__(self) -> str:
        return f"node {self.node}" if self.node else f"center {self.center}"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    flags.command(app, "cordon", "Operate")(cordon)
    flags.command(app, "uncordon", "Operate")(uncordon)


def cordon(
    connection: Connection,
    target: Target,
    message: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for people; at most 1024 characters.")
    ] = "",
) -> None:
    """Give no new grants on a node, or on all nodes of a center, until uncordoned.

    Leases that are there stay.
    """
    field = target.field()
    from computepool.v1 import inventory_pb2  # noqa: PLC0415 - slow to import

    request = inventory_pb2.CordonRequest(message=message, **field)
    with connection.client() as pool:
        answer = pool.cordon(request)
    if connection.as_json:
        documents.dump(documents.document(answer))
    else:
        stay = "1 lease is" if answer.leases == 1 else f"{answer.leases:,} leases are"
        screen.say(f"Cordoned {target}: no new grants; {stay} still there.")


def uncordon(connection: Connection, target: Target) -> None:
    """Give grants again on a node, or on the nodes of a center."""
    field = target.field()
    from computepool.v1 import inventory_pb2  # noqa: PLC0415 - slow to import

    request = inventory_pb2.UncordonRequest(**field)
    with connection.client() as pool:
        answer = pool.uncordon(request)
    if connection.as_json:
        documents.dump(documents.document(answer))
    else:
        screen.say(f"Uncordoned {target}: it takes new grants again.")
