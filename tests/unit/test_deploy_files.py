"""The board and the alert rules name only what the daemons serve."""

from __future__ import annotations

import json
import re

import pytest

from computepool_agents.telemetry.metrics import METRICS as OF_AGENT
from computepool_broker.telemetry.metrics import METRICS as OF_BROKER
from support.deploy_files import (
    BOARD,
    DEPLOY,
    OF_PROMETHEUS,
    RULES,
    TARGET_LABELS,
    Query,
    of_board,
    of_rules,
    panels,
    take_apart,
)

OF_PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}
ENDINGS = {"histogram": ("_bucket", "_sum", "_count")}


def labels_of_series() -> dict[str, set[str]]:
    """Label names by name of series, for all that both daemons have."""
    out: dict[str, set[str]] = {name: set() for name in OF_PROCESS | OF_PROMETHEUS}
    for metric in (*OF_BROKER, *OF_AGENT):
        if metric.kind == "histogram":
            for ending in ENDINGS["histogram"]:
                out[metric.name + ending] = set(metric.labels)
            out[f"{metric.name}_bucket"] |= {"le"}
        else:
            out[metric.shown] = set(metric.labels)
    return out


QUERIES = [*of_board(), *of_rules()]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_every_query_names_series_and_labels_that_there_are(query: Query) -> None:
    known = labels_of_series()
    assert query.metrics, query.text
    for name, matched in query.metrics.items():
        assert name in known, f"{name} in {query.text}"
        assert matched <= known[name] | TARGET_LABELS, query.text
    common = set.intersection(*(known[name] for name in query.metrics))
    assert query.groups <= common | TARGET_LABELS, query.text


def test_every_metric_of_ours_is_on_the_board() -> None:
    asked = {name for query in of_board() for name in query.metrics}
    missing = [
        metric.name
        for metric in (*OF_BROKER, *OF_AGENT)
        if not any(name.startswith(metric.name) for name in asked)
    ]
    assert not missing


@pytest.mark.parametrize(
    ("text", "metrics", "groups"),
    [
        ("a_total", {"a_total": set()}, set()),
        ('sum by (x, y) (rate(a{b="c", d=~"e|f"}[5m])) > 0', {"a": {"b", "d"}}, {"x", "y"}),
        ("a / on (z) group_left b offset 5m", {"a": set(), "b": set()}, {"z"}),
        ('topk(10, max(a{k="x{y}"})) and b', {"a": {"k"}, "b": set()}, set()),
        ("time() - max(a) * 1e3", {"a": set()}, set()),
    ],
)
def test_queries_are_taken_apart(text: str, metrics: dict[str, set[str]], groups: set[str]) -> None:
    query = take_apart("here", text)
    assert (query.metrics, query.groups) == (metrics, groups)


def test_the_board_is_whole() -> None:
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    for panel in panels(board):
        assert panel["description"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables, target["expr"]
    places = [panel["gridPos"] for panel in board["panels"]]
    for at, one in enumerate(places):
        assert one["x"] + one["w"] <= 24
        for other in places[at + 1 :]:
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            assert apart, (one, other)


def test_every_alert_says_how_bad_and_what_it_is() -> None:
    alerts = RULES.read_text(encoding="utf-8").split("      - alert: ")[1:]
    for alert in alerts:
        assert re.search(r"^          severity: (critical|warning)$", alert, re.MULTILINE), alert
        assert re.search(r'^          summary: ".+\."$', alert, re.MULTILINE), alert


def test_the_configuration_names_the_rules_and_the_jobs_that_they_ask_for() -> None:
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    assert "- alerts.yml" in text
    jobs = set(re.findall(r"job_name: (\S+)", text))
    asked = set(re.findall(r'job="([^"]+)"', RULES.read_text(encoding="utf-8")))
    assert asked == jobs
