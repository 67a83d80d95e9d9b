"""`computepool agents` and `forget`: who reports to the pool, and striking one off."""

from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client.cli import asking, documents, flags, listing, screen, units
from computepool_client.cli.connection import Connection, Printing
from computepool_client.cli.repeating import Repeat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from computepool.v1 import inventory_pb2

_STYLES = {"ACTIVE": "green", "RECONCILING": "cyan", "DISCONNECTED": "yellow", "LOST": "bold red"}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    flags.command(app, "agents", "Look")(agents)
    flags.command(app, "forget", "Operate")(forget)


def agents(connection: Printing, query: listing.Query, repeat: Repeat) -> None:
    """List agents: state, last report, refusals, session, nodes, leases, broker, version.

    ACTIVE reports in time; RECONCILING has not yet told all that it holds;
    DISCONNECTED is silent, and gets no new grants; LOST is silent for long, and
    its allocations follow their contact terms; CLOSED stopped in good order.
    """
    listing.run(
        connection,
        query,
        repeat,
        _KIND,
        lambda pool: iter(pool.agents(filter_by=query.filter_by, order_by=query.order_by)),
    )


def state_of(agent: "inventory_pb2.Agent") -> str:
    """The last word of an agent's state: "ACTIVE"."""
    return documents.enum_name(agent, "state").removeprefix("AGENT_STATE_")


def _show(found: "Sequence[inventory_pb2.Agent]", wide: bool) -> None:  # noqa: FBT001 - a form
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    several = any(each.broker for each in found)
    columns = (
        render.Column("agent", fold=True, least=20),
        render.Column("center", fold=True, least=20, dispensable=3),
        render.Column("state"),
        render.Column("last\nreport", numbers=True),
        render.Column("refusals", fold=True),
        render.Column("session", numbers=True),
        render.Column("nodes", numbers=True),
        render.Column("leases", numbers=True),
        render.Column("broker", fold=True, dispensable=4 if several else 9),
        render.Column("backend", fold=True, dispensable=2),
        render.Column("version", dispensable=1),
    )
    render.show(screen.stdout(), columns, (_row(each) for each in found), wide=wide)


def _row(agent: "inventory_pb2.Agent") -> "tuple[str | Text, ...]":
    from computepool_client.cli import render  # noqa: PLC0415 - see above

    state = state_of(agent)
    last = f" (last: {agent.last_refusal})" if agent.last_refusal else ""
    return (
        agent.name,
        agent.center,
        render.styled(state, _STYLES.get(state, "")),
        units.age(agent.last_sync_age_ms),
        f"{agent.refusals:,}{last}",
        f"{agent.session:,}",
        f"{agent.nodes:,}",
        f"{agent.leases:,}",
        agent.broker or "-",
        agent.backend,
        agent.version,
    )


def forget(
    connection: Connection,
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="Name of an agent that will never return.")
    ],
    yes: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--yes", "-y", help="Do not ask.")
    ] = False,
) -> None:
    """Strike off an agent that will never return.

    Its leases end as LOST, its nodes leave the view and their capacity goes
    with them. Refused (status 6) while the agent is alive. Asks on a terminal;
    elsewhere it needs --yes.
    """
    if not yes:
        asking.confirm(
            f"Forget {agent}? Its leases end as LOST, its nodes leave the view.",
            "Not forgotten.",
            "it confirms that the agent loses all its leases",
        )
    with connection.client() as pool:
        answer = pool.forget_agent(agent)
    if connection.as_json:
        documents.dump(documents.document(answer))
    else:
        screen.say(
            f"Forgot {agent}: {_counted(answer.nodes_removed, 'node')} left the view,"
            f" {_counted(answer.allocations_lost, 'allocation')} ended as LOST."
        )


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


_KIND: "listing.Kind[inventory_pb2.Agent]" = listing.Kind(
    "agents", "No agent has ever reported.", lambda agent: agent.name, _show
)
