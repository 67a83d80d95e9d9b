"""Put the broker's settings into docs/operations-basics.md, or with --check compare.

The table between the two marks of the page is made from config.py, where each setting's text,
unit and range live; the rest of the page is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from computepool_broker.config import ENV_PREFIX, Config

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "operations-basics.md"
BEGIN = "<!-- settings: made by tools/config_doc.py from broker/computepool_broker/config.py -->"
END = "<!-- end of settings -->"


def table() -> str:
    """Return one row per setting, in the order of --help."""
    head = ["| flag | default | range | what |", "|---|---|---|---|"]
    return "".join(f"{line}\n" for line in [*head, *map(_row, fields(Config))])


def _row(knob: Field[Any]) -> str:
    flag = "--" + knob.name.replace("_", "-")
    if not knob.metadata["flag"]:
        flag = ENV_PREFIX + knob.name.upper()
    low, high = knob.metadata["low"], knob.metadata["high"]
    allowed = "" if low is None else f"{low:,} to {high:,}"
    return f"| `{flag}` | {_default(knob.default)} | {allowed} | {knob.metadata['help']} |"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value == "" else f"`{value}`"


def filled(page: str) -> str:
    """Return the page with the present table between its marks.

    Raises:
        ValueError: The page lacks a mark, or has one twice.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the page must have each of the marks {BEGIN!r} and {END!r} once")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    example = f"{ENV_PREFIX}REPORT_INTERVAL_S"
    sources = (
        "Later sources win: defaults, the TOML file of `--config` (`report_interval_s = 5`), the\n"
        f"environment (`{example}=5`), flags (`--report-interval-s 5`).\n"
    )
    return f"{before}{BEGIN}\n{sources}\n{table()}{END}{after}"


def main() -> int:
    """Return 0, or 1 when --check finds the page out of date or it cannot be filled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    shown = PAGE.relative_to(ROOT)
    try:
        old = PAGE.read_text(encoding="utf-8")
        new = filled(old)
    except (OSError, ValueError) as error:
        print(f"{shown}: {error}")
        return 1
    if old == new:
        return 0
    if check:
        print(f"{shown} is out of date; run `python tools/config_doc.py`")
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
