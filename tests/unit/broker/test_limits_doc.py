"""docs/limits.md says what the code does."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "limits.md"
ROW = re.compile(
    r"^\| [^|]+ \| ([\d,]+)[^|]*\|[^|]*\| `([a-z_.]+)\.([A-Z_0-9]+)` \|$", re.MULTILINE
)


def test_every_limit_is_the_one_in_the_code() -> None:
    rows = ROW.findall(PAGE.read_text())
    named = sum(" | `" in line for line in PAGE.read_text().splitlines())
    assert len(rows) == named > 40
    for value, module, name in rows:
        there = getattr(importlib.import_module(f"computepool_broker.{module}"), name)
        assert int(value.replace(",", "")) == there, f"{module}.{name}"
