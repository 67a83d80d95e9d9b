"""Structured logs on standard error, JSON or for people.

May import structlog. Configures it for the process. What others say (names, messages of engines)
goes into logs as it came. JSON escapes it by itself; for people whatever does not print is escaped
here, so that no text can begin a line of its own, move the cursor or change a colour.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

MOST_TEXT = 4_000
"""Characters of one text."""


def make_log(level: str, form: str) -> FilteringBoundLogger:
    """Make the process's log.

    Args:
        level: "debug", "info", "warning" or "error".
        form: "json" (one object a line) or "console".
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers(form, colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    return cast("FilteringBoundLogger", structlog.get_logger())


def renderers(form: str, *, colors: bool) -> list[Processor]:
    """Give what makes a line of an event, json or console."""
    if form == "json":
        return [bounded, structlog.processors.JSONRenderer()]
    return [bounded, printable, structlog.dev.ConsoleRenderer(colors=colors)]


def bounded(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Cut texts that are too long."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MOST_TEXT and key != "exception":
            event[key] = f"{value[:MOST_TEXT]}... ({len(value)} characters)"
    return event


def printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape what does not print; the lines of a traceback are marked as such."""
    for key, value in event.items():
        if not isinstance(value, str):
            continue
        if key == "exception":
            event[key] = "\n".join(f"  | {_escaped(line)}" for line in value.splitlines())
        elif not value.isprintable():
            event[key] = _escaped(value)
    return event


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
