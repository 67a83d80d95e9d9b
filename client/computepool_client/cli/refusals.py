"""Why there is no room, as a table with one line per center, and what would fit."""

from typing import TYPE_CHECKING

from computepool_client.cli import render, screen, spec_flags, units

if TYPE_CHECKING:
    from rich.console import Console

    from computepool.v1 import allocation_pb2

_COLUMNS = (
    render.Column("center"),
    render.Column("region", dispensable=1),
    render.Column("blocked by"),
    render.Column("missing", fold=True),
    render.Column("nodes\nleft", numbers=True),
    render.Column("age", numbers=True),
)
_MOST_CENTERS = 10
_RULED_OUT = ("REGION_NOT_ALLOWED", "CENTER_NOT_ALLOWED")
# What a filter asks, where its name alone leaves one guessing.
_MEANING = {
    "REGION_NOT_ALLOWED": "not in a region that the request allows",
    "CENTER_NOT_ALLOWED": "not a center that the request allows",
    "NOT_SCHEDULABLE": "no node takes new grants now (cordoned, silent, suspect; see `nodes`)",
    "LABELS": "no node carries the labels",
    "MODEL": "no device of an accepted model with enough memory",
    "DEVICES": "too few whole free devices on one node",
    "DEVICE_SHARE": "no single device has so large a share free",
    "CPU": "too few cores free on the nodes left",
    "MEMORY": "too little memory free on the nodes left",
    "DISK": "too little disk free on the nodes left",
    "EXTRA": "too little of an extra resource on the nodes left",
    "GANG": "some parts fit, but not all at once",
    "SPREAD": "the parts fit, but not so evenly as --spread and --max-skew ask",
    "POWER": "all devices that could be had make too little power",
}
_NODES_LEFT = "nodes left: how many nodes of the center had passed every check before this one"
BEYOND_POOL = (
    "Waiting does not help: the pool could not hold this even if nobody used anything of it."
)


def show(
    refusal: "allocation_pb2.Refusal",
    console: "Console",
    tenant: str = "default",
    *,
    wide: bool = False,
) -> None:
    """Prints the summary, the table, what the reasons in it mean, and what would fit.

    Centers that the request itself rules out are counted, not listed; of the
    others those that lack least, or all with `wide`.
    """
    listed = [each for each in refusal.centers if each.reason not in _RULED_OUT]
    ruled_out = len(refusal.centers) - len(listed)
    console.print(render.styled(_summary(refusal), "bold red"))
    if listed:
        shown = listed if wide else listed[:_MOST_CENTERS]
        render.show(console, _COLUMNS, (_row(each) for each in shown), wide=wide)
        if len(shown) < len(listed):
            console.print(f"... and {len(listed) - len(shown)} more (all: -o wide)")
        _tell_more(refusal, shown, ruled_out, console)
    # Otherwise the summary has said it: no center is in what the request names.
    if refusal.beyond_pool:
        console.print(render.styled(BEYOND_POOL, "yellow"))
    if refusal.nearest:
        _show_nearest(refusal, console, tenant)


def _tell_more(
    refusal: "allocation_pb2.Refusal",
    listed: "list[allocation_pb2.CenterRefusal]",
    ruled_out: int,
    console: "Console",
) -> None:
    if ruled_out:
        many = "s" * (ruled_out != 1)
        console.print(f"... and {ruled_out} center{many} that the request does not allow")
    if refusal.centers_omitted:
        console.print(f"... and {refusal.centers_omitted} more")
    for reason in dict.fromkeys(each.reason for each in listed):
        if reason in _MEANING:
            console.print(render.styled(f"{reason}: {_MEANING[reason]}", "dim"))
    console.print(render.styled(_NODES_LEFT, "dim"))


def _show_nearest(refusal: "allocation_pb2.Refusal", console: "Console", tenant: str) -> None:
    console.print()
    console.print(render.styled("It would fit now, in one of these ways:", "bold"))
    for each in refusal.nearest:
        at = f" (at {each.center})" if each.center else ""
        console.print(render.styled(f"  {each.summary}{at}:", ""))
        # Never broken over lines, so that it can be copied.
        line = screen.clean(spec_flags.command("allocate", each.spec, tenant))
        console.print(f"    {line}", soft_wrap=True)


def what_to_check(refusal: "allocation_pb2.Refusal | None") -> str:
    """Where a misspelt name is likelier than a full pool: what lists the names; else empty.

    The broker puts the centers that lack least first, so the first one's reason tells
    how far the request got anywhere.
    """
    if refusal is None or not refusal.centers or refusal.beyond_pool:
        return ""
    first = refusal.centers[0].reason
    if first in _RULED_OUT:
        return "The names that there are: computepool view --depth center"
    if first == "MODEL":
        return "The models that there are: computepool view --depth model"
    return ""


def in_short(refusal: "allocation_pb2.Refusal | None") -> str:
    """What blocks at the center that lacks least, for a line of progress."""
    if refusal is None or not refusal.centers:
        return "no center has room"
    first = refusal.centers[0]
    if first.reason in _RULED_OUT:
        return "no center is in the regions and centers asked for"
    lacks = f", {units.missing(first.missing, first.resource)} missing" if first.resource else ""
    others = len(refusal.centers) - 1 + refusal.centers_omitted
    more = f"; {others} other centers cannot take it either" if others else ""
    return f"{first.center}: {first.reason}{lacks}{more}"


def _summary(refusal: "allocation_pb2.Refusal") -> str:
    summary = refusal.summary or "no center can take it now"
    return "N" + summary[1:] if summary.startswith("no room") else f"No room: {summary}"


def _row(center: "allocation_pb2.CenterRefusal") -> tuple[str, ...]:
    return (
        center.center,
        center.region,
        center.reason,
        units.missing(center.missing, center.resource),
        f"{center.nodes:,}",
        units.age(center.age_ms),
    )
