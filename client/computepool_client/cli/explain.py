"""`computepool explain`: why here, why not yet, why not at all, and what would help."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from computepool_client.cli import documents, exits, flags, grants, screen, spec, units
from computepool_client.cli.connection import Printing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from computepool.v1 import allocation_pb2, types_pb2
    from computepool_client.cli.render import Column

_ONE_DEVICE_MILLI: Final = 1000
# What a check of the placement leaves, in words.
_CHECKS: Final = {
    "REGION_NOT_ALLOWED": "in a region allowed",
    "CENTER_NOT_ALLOWED": "in a center allowed",
    "NOT_SCHEDULABLE": "open: takes new grants",
    "LABELS": "carries the labels",
    "MODEL": "has an accepted model",
    "DEVICES": "has the devices free",
    "DEVICE_SHARE": "has the share of a device free",
    "CPU": "has the cores free",
    "MEMORY": "has the memory free",
    "DISK": "has the disk free",
    "EXTRA": "has the extra resources free",
}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "explain", "Allocate")(explain)


def explain(
    connection: Printing,
    wanted: spec.Wanted,
    allocation: Annotated[
        str,
        typer.Argument(
            metavar="ID", show_default=False, help="An allocation; or else say what is wanted."
        ),
    ] = "",
) -> None:
    """Say why an allocation is where it is, or where a request would go, or why nowhere.

    Takes the id of an allocation, or the flags of `allocate`. For what does not
    fit it says what is in the way at each center, how much is missing, how old
    the numbers are, and what would fit instead, as commands to paste; nodes
    left are those of the center that had passed every check before the one that
    blocks. rank is the place's among the nodes that could take the part. Changes
    nothing. Ends with status 3 when there is no room. With -o name it prints the
    nodes.
    """
    subject = _subject(allocation, wanted)
    with connection.client() as pool:
        answer = pool.explain(subject)
    if connection.as_json:
        documents.dump(documents.document(answer))
    elif connection.names_only:
        for node in dict.fromkeys(part.place.node for part in answer.parts):
            screen.say_name(node)
    else:
        _show(answer, wanted, wide=connection.wide)
    if answer.HasField("refusal"):
        raise typer.Exit(exits.Exit.NO_ROOM)


def _subject(allocation: str, wanted: spec.Wanted) -> "str | types_pb2.AllocationSpec":
    if not allocation and wanted.nothing:
        raise typer.BadParameter(
            "give the id of an allocation, or say what is wanted, such as --gpus 1",
            param_hint="ID / --gpus / --cpu / ...",
        )
    if allocation and not wanted.nothing:
        raise typer.BadParameter(
            "an allocation has been asked for already: give its id alone", param_hint="ID"
        )
    return allocation or wanted.message()


def _show(
    answer: "allocation_pb2.ExplainAllocationResponse", wanted: spec.Wanted, *, wide: bool
) -> None:
    if answer.HasField("refusal"):
        from computepool_client.cli import refusals  # noqa: PLC0415 - tables are slow to import

        refusals.show(answer.refusal, screen.stdout(), wanted.tenant, wide=wide)
        if check := refusals.what_to_check(answer.refusal):
            screen.remark(check)
    else:
        granted = answer.HasField("allocation")
        what = f"Allocation {answer.allocation.id}:" if granted else "It"
        screen.say(f"{what} {answer.summary}.", "bold")
        if granted:
            screen.say(f"  asked for   {grants.asked_for(answer.allocation.spec)}")
        if answer.parts:
            _show_parts(answer, wide=wide)
    if answer.filters:
        _show_filters(answer.filters)
    screen.say(f"True for revision {answer.view_revision:,} of the view.", "dim")


def _show_parts(answer: "allocation_pb2.ExplainAllocationResponse", *, wide: bool) -> None:
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    granted = answer.HasField("allocation")
    columns: list[Column] = [
        render.Column("part", numbers=True),
        render.Column("node", fold=True, least=20),
        render.Column("center", fold=True, least=16, dispensable=1),
        render.Column("region", dispensable=3),
        render.Column("model"),
        render.Column("rank", numbers=True),
        render.Column("left there", fold=True, least=18, dispensable=2),
        *([render.Column("state")] * granted),
    ]
    rows = [
        (
            str(part.index),
            part.place.node,
            part.place.center,
            part.place.region,
            part.model or "-",
            _rank(part),
            _left(part.place),
            documents.enum_name(part, "state").removeprefix("LEASE_STATE_"),
        )[: len(columns)]
        for part in answer.parts
    ]
    render.show(screen.stdout(), columns, rows, wide=wide)
    if answer.parts_omitted:
        screen.say(f"... and {answer.parts_omitted:,} more parts")
    for number, part in enumerate(answer.parts):
        # The table says most of it; one sentence tells how to read it.
        told = wide or number == 0 or not part.rank or _awaited(part)
        if told and part.summary not in answer.summary:
            screen.say(f"part {part.index}: {part.summary}")
        if wide and part.others:
            others = ", ".join(each.node for each in part.others)
            screen.say(f"part {part.index}: next best are {others}")


def _awaited(part: "allocation_pb2.PartExplanation") -> bool:
    return documents.enum_name(part, "state") == "LEASE_STATE_PENDING"


def _rank(part: "allocation_pb2.PartExplanation") -> str:
    return f"{part.rank:,} of {part.candidates:,}" if part.rank else "-"


def _left(place: "allocation_pb2.Candidate") -> str:
    many = "s" * (place.device_milli_left != _ONE_DEVICE_MILLI)
    devices = f"{units.thousandths(place.device_milli_left)} device{many}"
    return f"{devices}, {units.cores(place.cpu_milli_left)}"


def _show_filters(steps: "Sequence[allocation_pb2.FilterStep]") -> None:
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    columns = (render.Column("a node must be"), render.Column("nodes left", numbers=True))
    rows = [(_CHECKS.get(step.reason, step.reason), f"{step.nodes:,}") for step in steps]
    render.show(screen.stdout(), columns, rows)
