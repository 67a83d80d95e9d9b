"""Make docs/accelerators.md from the catalogue, or with --check say whether it is current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from computepool_broker.model.accelerators import (
    DEFAULT_PRECISION,
    PRECISIONS,
    STAND_INS,
    Accelerator,
    Catalogue,
    catalogue,
)

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "accelerators.md"

INTRODUCTION = f"""# Accelerators and how P is counted

<!-- Made by tools/accelerators_doc.py from broker/computepool_broker/model/accelerators.toml:
     change that file, then run `python tools/accelerators_doc.py`. -->

Allocation is in devices, accounting in P. 1 P is 10^15 calculations a second, as 10^6 GFLOPS.
What a device counts depends on two things only: its model, and the precision that the view was
asked for ({DEFAULT_PRECISION} unless said otherwise).

- **Dense peak.** The rate is the highest that the model reaches on dense data, on its matrix
  units where they take the precision, with results added up in fp32. Rates "with sparsity", which
  many data sheets print first, are twice as high and count nothing here; nor does the fp16 rate
  of the ordinary cores, which is a fraction of it. It is a peak for accounting, not a promise of
  speed.
- **A device shared in thousandths** counts that part of its peak. An unhealthy device counts 0.
- **An unknown model** can be allocated, counts 0 P and is flagged in the view (`unknown_model`).
  Models are found by the spelling below or by an alias, without regard to case.
- **A precision that a model lacks** counts at the rate of the next wider one that the model has
  and that holds all values of the missing one exactly, since that is how such work runs there.
  fp16 and bf16 do not stand in for each other: neither holds the other's values.

| missing | what stands in, the first that the model has |
|---|---|
"""

TABLE_HEAD = """
## Dense peak, in 10^9 operations a second

A figure in parentheses is a stand-in's. An asterisk marks figures that the vendor does not publish
itself: see the sources.

"""

SOURCES_HEAD = """
## Sources

| model | vendor | other names | source |
|---|---|---|---|
"""


def render(models: Catalogue) -> str:
    """Return the page for a catalogue."""
    stand_ins = [
        f"| {precision} | {', '.join(others) or 'nothing: it counts 0'} |"
        for precision, others in STAND_INS.items()
    ]
    columns = ["model", "memory, MiB", "TDP, W", *PRECISIONS]
    head = ["| " + " | ".join(columns) + " |", "|---" + "|--:" * (len(columns) - 1) + "|"]
    return (
        INTRODUCTION
        + _lines(stand_ins)
        + TABLE_HEAD
        + _lines(head + [_peaks(row) for row in models.accelerators])
        + SOURCES_HEAD
        + _lines([_source(row) for row in models.accelerators])
    )


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _peaks(row: Accelerator) -> str:
    mark = "" if row.confidence == "vendor" else " *"
    power = "-" if row.tdp_w is None else f"{row.tdp_w:,}"
    cells = [f"{row.model}{mark}", f"{row.memory_mib:,}", power]
    return "| " + " | ".join([*cells, *(_peak(row, name) for name in PRECISIONS)]) + " |"


def _peak(row: Accelerator, precision: str) -> str:
    peak = row.peak_gflops(precision)
    if precision in row.gflops:
        return f"{peak:,}"
    return f"({peak:,})" if peak else "0"


def _source(row: Accelerator) -> str:
    aliases = ", ".join(row.aliases)
    kind = "" if row.confidence == "vendor" else "Secondary: "
    return f"| {row.model} | {row.vendor} | {aliases} | {kind}{row.source} |"


def main() -> int:
    """Return 0, or 1 when --check finds the page out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    page = render(catalogue())
    if not parser.parse_args().check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is out of date; run `python tools/accelerators_doc.py`")
    return 1


if __name__ == "__main__":
    sys.exit(main())
