"""What the board and the alert rules in deploy/ ask Prometheus: their queries, taken apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
BOARD = DEPLOY / "grafana" / "computepool.json"
RULES = DEPLOY / "prometheus" / "alerts.yml"
OF_PROMETHEUS = {"up"}
"""Made by Prometheus itself for every target."""
TARGET_LABELS = {"job", "instance"}
"""Given to every series by Prometheus itself."""
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless"}
WORDS |= {"bool", "offset", "inf", "nan"}


class Query(NamedTuple):
    """One query.

    Attributes:
        where: Panel or alert.
        text: As Prometheus gets it.
        metrics: Names of series, and the labels that are matched on each.
        groups: Labels that it groups by.
    """

    where: str
    text: str
    metrics: dict[str, set[str]]
    groups: set[str]


def take_apart(where: str, text: str) -> Query:
    """Find what a query names."""
    metrics: dict[str, set[str]] = {}
    groups: set[str] = set()

    def group(found: re.Match[str]) -> str:
        groups.update(name.strip() for name in found[2].split(",") if name.strip())
        return " "

    def series(found: re.Match[str]) -> str:
        matched = re.findall(r"([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*\x00", found[2])
        metrics.setdefault(found[1], set()).update(matched)
        return " "

    rest = re.sub(r'"(?:[^"\\]|\\.)*"', "\0", text)
    rest = re.sub(r"\[[^\]]*\]", " ", rest)
    rest = re.sub(r"\b(by|without|on|ignoring)\s*\(([^)]*)\)", group, rest)
    rest = re.sub(r"([A-Za-z_:]\w*)\s*\{([^}]*)\}", series, rest)
    for found in re.finditer(r"(?<![\w.])([A-Za-z_:][\w:]*)(?!\w)(?!\s*\()", rest):
        if found[1] not in WORDS:
            metrics.setdefault(found[1], set())
    return Query(where, text, metrics, groups)


def of_board() -> list[Query]:
    """Queries of all panels and variables."""
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    found = [
        take_apart(panel["title"], target["expr"])
        for panel in panels(board)
        for target in panel["targets"]
    ]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            inner = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            assert inner is not None, variable
            query = take_apart(f"variable {variable['name']}", inner[1])
            found.append(query._replace(groups={inner[2]}))
    return found


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels but the titles of rows."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def of_rules() -> list[Query]:
    """Queries of all alerts."""
    text = RULES.read_text(encoding="utf-8")
    names = re.findall(r"^      - alert: (\w+)$", text, re.MULTILINE)
    queries = re.findall(r"^        expr: (.+)$", text, re.MULTILINE)
    assert len(names) == len(queries) > 0
    return [take_apart(*each) for each in zip(names, queries, strict=True)]
