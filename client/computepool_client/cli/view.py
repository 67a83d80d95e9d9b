"""`computepool view`: the one view over all centers, as a tree."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client import errors
from computepool_client.cli import documents, flags, repeating, screen, units, view_rows
from computepool_client.cli.connection import Printing
from computepool_client.cli.precision import Precision
from computepool_client.cli.repeating import Repeat

if TYPE_CHECKING:
    from computepool.v1 import inventory_pb2
    from computepool_client.client import PoolClient

# The headline, the table's head and rule, the sums' rule; power, state, warnings.
_LINES_AROUND = 10


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "view", "Look")(view)


def _depth(text: str) -> view_rows.Depth:
    return view_rows.Depth(units.parse_word(text, tuple(view_rows.Depth), "depth"))


def view(
    connection: Printing,
    repeat: Repeat,
    precision: Precision = "",
    region: Annotated[str, typer.Option(metavar="NAME", help="Only this region.")] = "",
    center: Annotated[str, typer.Option(metavar="NAME", help="Only this center.")] = "",
    depth: Annotated[
        view_rows.Depth | None,
        typer.Option(
            metavar="LEVEL",
            parser=flags.parser(_depth),
            show_default="model up to 12 centers, else center",
            help="How far down: region, center or model.",
        ),
    ] = None,
) -> None:
    """Show what there is, who uses it and what is free: region over center over model.

    Amounts are devices (a center without devices: processor cores). free is
    what is left of the total after what is reserved, used by others (foreign)
    and granted; the part of it that is open can be had now: it is on nodes that
    take new grants. in flight is the part of granted that no report has shown
    yet; use is foreign and granted in percent of the total; P is peak computing
    power, 10^15 calculations a second; age is that of the oldest number.
    """

    def show_in_form(answer: "inventory_pb2.GetViewResponse") -> None:
        if connection.as_json:
            documents.dump(documents.document(answer), line=repeat.watch)
        elif connection.names_only:
            for name in view_rows.center_names(answer):
                screen.say_name(name)
        else:
            level = _that_fits(answer) if repeat.watch and depth is None else depth
            show(answer, level, wide=connection.wide)

    with connection.client() as pool:
        look = partial(_look, pool, precision, region, center)
        repeating.run(connection, repeat, look, show_in_form)


def _that_fits(answer: "inventory_pb2.GetViewResponse") -> view_rows.Depth:
    """How far down a live screen shows it, so that the sums at its end are seen."""
    console = screen.stdout()
    depth = view_rows.default_depth(answer)
    if not screen.can_be_redrawn():
        return depth
    while depth is not view_rows.Depth.REGION:
        if len(view_rows.rows(answer, depth)) + _LINES_AROUND <= console.height:
            break
        depth = view_rows.Depth.CENTER if depth is view_rows.Depth.MODEL else view_rows.Depth.REGION
    return depth


def _look(
    pool: "PoolClient", precision: str, region: str, center: str
) -> "inventory_pb2.GetViewResponse":
    """The view, or the part of it that is asked for."""
    part = view_rows.narrowed(pool.view(precision), region, center)
    if (region or center) and not any(each.centers for each in part.regions):
        what = f"center {center!r}" if center else f"region {region!r}"
        raise errors.NotFoundError(f"the pool knows no {what}", "NOT_FOUND")
    return part


def show(
    answer: "inventory_pb2.GetViewResponse",
    depth: view_rows.Depth | None = None,
    *,
    wide: bool = False,
) -> None:
    """Prints the tree, and the state of the pool under it."""
    if not answer.regions:
        screen.say("No agent has reported yet: there are no centers to show.")
    else:
        from computepool_client.cli import tree  # noqa: PLC0415 - tables are slow to import

        rows = view_rows.rows(answer, depth or view_rows.default_depth(answer))
        tree.show(rows, screen.stdout(), wide=wide)
        _say_power(rows[-1].power, answer.precision)
    _say_state(answer)


def _say_power(power: view_rows.Power, precision: str) -> None:
    if power.peak:
        left = max(0, power.peak - power.foreign - power.granted)
        screen.say(
            f"P at {precision}: {units.power(power.peak)} in all,"
            f" {units.power(power.foreign)} foreign, {units.power(power.granted)} granted,"
            f" {units.power(left)} left"
        )


def _say_state(answer: "inventory_pb2.GetViewResponse") -> None:
    screen.say(
        f"{answer.allocations:,} allocations live; since the broker's start"
        f" {answer.grants_total:,} granted, {answer.refusals_total:,} refused; "
        + _audit(answer.audit_findings)
    )
    # The names of the states are compared, since the generated code is slow to import.
    if documents.enum_name(answer, "state") == "POOL_STATE_WARMING_UP":
        screen.say(
            "WARMING UP: not all known agents are back; what cannot be placed yet is told to wait.",
            "yellow",
        )
    _say_silent(answer)
    if answer.mass_silence:
        screen.say(
            "MASS SILENCE: more than half of the centers fell silent together;"
            " none of them is taken for lost.",
            "bold red",
        )


def _say_silent(answer: "inventory_pb2.GetViewResponse") -> None:
    centers = [center for region in answer.regions for center in region.centers]
    agents = sum(center.agents for center in centers)
    silent = agents - sum(center.agents_active for center in centers)
    if silent:
        screen.say(
            f"{silent:,} of {agents:,} agents not active: what is free on their nodes is not"
            " open, and is not granted until they report.",
            "yellow",
        )


def _audit(findings: int) -> str:
    if findings < 0:
        return "not audited yet"
    return f"audit: {findings:,} findings, see `computepool audit`" if findings else "audit clean"
