"""The newest figures of each bench as a Markdown table, for docs/benchmarks.md.

Run as a program: `python -m bench.summary`. Reads bench/results only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.output import RESULTS

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = ("load", "nodes", "shapes", "in_flight", "write")


def newest() -> list[Path]:
    """The last finished file of each bench, in the order of their names.

    A bench's files are named by time, then bench, so the last in order is the newest.
    """
    latest: dict[str, Path] = {}
    for file in sorted(RESULTS.glob("*.jsonl")):
        latest[file.stem.partition("-")[2]] = file
    return [latest[name] for name in sorted(latest)]


def row(figure: dict[str, Any]) -> str:
    """One line of the table."""
    params = figure["params"]
    where = ", ".join(f"{key} {params[key]}" for key in SHOWN if params.get(key) is not None)
    cells = [
        f"`{figure['bench']}` {figure['metric']}",
        where,
        f"{figure['value']:g} {figure['unit']}",
        "" if figure["baseline"] is None else f"{figure['baseline']:g}",
        "" if figure["ratio"] is None else f"{figure['ratio']:.2f}",
        params.get("target") or "",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    print("| figure | of | value | baseline | ratio | target |\n|---|---|---|---|---|---|")
    for file in newest():
        for line in file.read_text(encoding="utf-8").splitlines():
            print(row(json.loads(line)))


if __name__ == "__main__":
    main()
