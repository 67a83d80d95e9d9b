"""`computepool audit`: does everything add up?"""

from typing import TYPE_CHECKING

import typer

from computepool_client.cli import documents, exits, flags, screen, units
from computepool_client.cli.connection import Connection

if TYPE_CHECKING:
    from computepool.v1 import inventory_pb2


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "audit", "Look")(audit)


def audit(connection: Connection) -> None:
    """Recompute everything from leases and reports, and name what disagrees.

    Ends with status 0 when all adds up and with 6 when there are findings.
    """
    with connection.client() as pool:
        answer = pool.audit()
    if connection.as_json:
        documents.dump(documents.document(answer))
    else:
        _print(answer)
    if answer.findings or answer.findings_omitted:
        raise typer.Exit(exits.Exit.WRONG_STATE)


def _print(answer: "inventory_pb2.AuditPoolResponse") -> None:
    looked_at = (
        f"{answer.nodes:,} nodes and {answer.leases:,} leases"
        f" in {units.duration(answer.duration_ms)}, at revision {answer.mark.revision}"
    )
    count = len(answer.findings) + answer.findings_omitted
    if not count:
        screen.say(f"Clean: {looked_at}.", "green")
        return
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    columns = (
        render.Column("kind"),
        render.Column("node", fold=True),
        render.Column("lease or allocation", fold=True),
        render.Column("what", fold=True),
    )
    rows = (
        (
            documents.enum_name(each, "kind").removeprefix("FINDING_KIND_"),
            each.node or "-",
            each.lease_id or "-",
            each.message,
        )
        for each in answer.findings
    )
    render.show(screen.stdout(), columns, rows)
    omitted = f", {answer.findings_omitted:,} of them not listed" if answer.findings_omitted else ""
    many = "s" * (count != 1)
    screen.say(f"{count:,} finding{many}{omitted}: {looked_at}.", "bold red")
