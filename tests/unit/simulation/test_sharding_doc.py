"""docs/design-notes/sharding.md says of the simulation what it says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from simulation import grid
from simulation.costs import UNARY, table
from simulation.gang import Rules, search
from simulation.grid import BUSY_PER_S, MOST_BROKERS, TABLES, Grid, brokers_needed, most_rate
from simulation.run import Setup

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "design-notes" / "sharding.md"
TINY = Setup(1, 1, nodes=1_600, rate=300.0, warm_s=0.1, seconds=0.2)


def test_the_parameters_are_those_that_are_used() -> None:
    assert table(UNARY) in PAGE.read_text(encoding="utf-8")


def test_the_search_of_the_protocol_found_what_is_told() -> None:
    assert f"all {search(Rules()).states} states" in PAGE.read_text(encoding="utf-8")


def test_the_command_prints_what_is_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "costs", "gang"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert table(UNARY) in done.stdout
    assert "all rules: " in done.stdout


@pytest.mark.parametrize("name", ["pools", "conflicts", "seats", "gangs"])
def test_tables_have_a_row_for_each_setup(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "BROKERS", (1, 4))
    monkeypatch.setattr(grid, "USES", (0.9,))
    monkeypatch.setattr(grid, "BUSY_PER_S", dict.fromkeys(BUSY_PER_S, 200.0))
    rows = TABLES[name](Grid(TINY, 2)).splitlines()
    assert len(rows) > 3
    assert len({row.count("|") for row in rows}) == 1
    assert all("nan" not in row for row in rows)


def test_what_is_needed_and_what_is_carried_are_found_by_halving() -> None:
    rate = most_rate(TINY)
    assert 300 < rate < 40_000
    more = Setup(1, 1, nodes=1_600, rate=2 * rate, warm_s=0.1, seconds=0.2)
    assert 1 < brokers_needed(more) <= 8
    assert brokers_needed(TINY) == 1
    assert brokers_needed(Setup(1, 1, nodes=1_600, rate=1e5, warm_s=0.05, seconds=0.1)) == 0
    assert MOST_BROKERS > 8
