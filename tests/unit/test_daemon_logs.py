"""Logs of both daemons: nothing that others say can forge a line, or do things to a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

import computepool_agents.logs as agents
import computepool_broker.logs as broker

pytestmark = pytest.mark.parametrize("daemon", [broker, agents], ids=["broker", "agent"])

EVIL = [
    "a\n2026-01-01T00:00:00Z [error    ] forged",
    "a\r\nb",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b2J",
    "back\x08\x08",
    "a\u2028b\u2029c\x85d\x0be\x0cf",
    "\u202eright to left\u2066",
    "nul\x00",
    "\ud800 alone",
    "\u200b\ufeff",
]


def line(daemon: Any, form: str, event: dict[str, Any]) -> str:
    """What the daemon's own processors make of an event."""
    for processor in daemon.renderers(form, colors=False):
        event = processor(None, "info", event)
    return str(event)


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: [t],
        lambda t: {"key": t},
        lambda t: {t: 1},
        lambda t: (1, t),
        ValueError,
    ],
    ids=["text", "list", "value", "key", "tuple", "exception"],
)
def test_a_line_is_one_line_of_what_prints(daemon: Any, form: str, text: str, wrap: Any) -> None:
    if form == "json" and wrap is ValueError:
        event = {"event": "e", "name": repr(wrap(text))}
    else:
        event = {"event": "e", "name": wrap(text)}
    made = line(daemon, form, event)
    assert made.isprintable(), repr(made)
    assert len(made.splitlines()) == 1
    if form == "json":
        json.loads(made)


@pytest.mark.parametrize("text", EVIL)
def test_json_brings_the_text_back_as_it_was(daemon: Any, text: str) -> None:
    assert json.loads(line(daemon, "json", {"event": "e", "name": text}))["name"] == text


@pytest.mark.parametrize("text", EVIL)
def test_lines_of_a_traceback_are_marked(daemon: Any, text: str) -> None:
    error = ValueError(text)
    event = structlog.processors.format_exc_info(None, "", {"event": "e", "exc_info": error})
    first, *rest = line(daemon, "console", dict(event)).split("\n")
    assert first.strip() == "e"
    assert rest
    assert all(each.startswith("  | ") and each.isprintable() for each in rest if each)


@pytest.mark.parametrize("form", ["json", "console"])
def test_texts_are_cut(daemon: Any, form: str) -> None:
    made = line(daemon, form, {"event": "e", "name": "x" * 1_000_000})
    assert len(made) < 5_000
    assert "1000000 characters" in made


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_prints_stays_as_it_is(daemon: Any, form: str) -> None:
    made = line(daemon, form, {"event": "lease_refused", "center": "beijing-01", "n": 3})
    assert "beijing-01" in made
    assert "lease_refused" in made
    assert "\\" not in made


def test_other_scripts_are_readable_in_the_console(daemon: Any) -> None:
    assert "张家口" in line(daemon, "console", {"event": "e", "center": "张家口"})
