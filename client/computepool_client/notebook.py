"""How values look in a notebook: small HTML tables, everything escaped.

Pure; imports no values at run time.
"""

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from computepool_client.cli import units

if TYPE_CHECKING:
    from computepool_client.inventory import Amounts, View
    from computepool_client.values import Allocation, Refusal


def allocation(value: "Allocation") -> str:
    """An allocation: one row for each part."""
    ended = f" ({value.end_reason})" if not value.live else ""
    caption = f"{value.id}: {value.state}{ended}, tenant {value.tenant}"
    rows = (
        (
            part.index,
            part.region,
            part.center,
            part.node,
            part.model,
            ", ".join(f"{d.id}{f' ({d.milli}/1000)' * (d.milli < _WHOLE)}" for d in part.devices),
            part.state,
        )
        for part in value.parts
    )
    return _table(caption, ("part", "region", "center", "node", "model", "devices", "state"), rows)


def refusal(value: "Refusal") -> str:
    """A refusal: one row for each center, then what would fit."""
    rows = (
        (c.center, c.region, c.reason, units.missing(c.missing, c.resource), c.nodes)
        for c in value.centers
    )
    table = _table(value.summary, ("center", "region", "blocked by", "missing", "nodes left"), rows)
    fits = "".join(f"<li>{escape(str(fit))}</li>" for fit in value.nearest)
    return table + (f"<p>It would fit:</p><ul>{fits}</ul>" if fits else "")


def view(value: "View") -> str:
    """The view: one row for each model of each center."""
    caption = f"{value.state}, {value.allocations:,} allocations, power at {value.precision}"
    rows: list[tuple[str, ...]] = []
    for center in value.centers:
        where = (center.region, center.name, f"{center.nodes_schedulable}/{center.nodes}")
        if not center.models:
            rows.append((*where, "", "", "", "", "", ""))
        rows += [
            (*where, model.model, *_counts(model.devices), f"{model.peak_gflops / 1e6:,.1f}")
            for model in center.models
        ]
    columns = ("region", "center", "nodes", "model", "total", "foreign", "granted", "free", "P")
    return _table(caption, columns, rows)


_WHOLE = 1000


def _counts(amounts: "Amounts") -> tuple[str, ...]:
    numbers = (amounts.total, amounts.foreign, amounts.granted, amounts.schedulable)
    return tuple(f"{number / 1000:,.6g}" for number in numbers)


def _table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
