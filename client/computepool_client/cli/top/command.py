"""`computepool top`: the flags, and whether there is a terminal to draw on."""

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Final

import typer

from computepool_client.cli import exits, flags, units
from computepool_client.cli.connection import Connection
from computepool_client.cli.precision import Precision

if TYPE_CHECKING:
    from computepool_client.cli.top.app import TopApp

_LEAST_INTERVAL_S: Final = 0.2
_MOST_INTERVAL_S: Final = 60.0
_END_WITHIN_S: Final = 5.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "top", "Look")(top)


def _interval(text: str) -> float:
    seconds = units.parse_duration_s(text)
    if not _LEAST_INTERVAL_S <= seconds <= _MOST_INTERVAL_S:
        raise ValueError(f"{text!r} is out of range: 200ms to 60s")
    return seconds


def top(
    context: typer.Context,
    connection: Connection,
    interval: Annotated[
        float,
        typer.Option(
            metavar="DURATION",
            parser=flags.parser(_interval),
            show_default="1s",
            help="Least time between two looks at the pool, 200ms to 60s.",
        ),
    ] = 1.0,
    precision: Precision = "",
) -> None:
    """Show the pool on a live screen: regions, centers, rates, in flight, slowest agents.

    Keys: s sorts by the next column, r turns the order round, / filters, Enter
    opens a center, p counts P at another precision, space holds the screen
    still, ? explains everything, q leaves. It goes on by itself after a broker
    that was away is back; figures in grey are old.
    """
    _check(context, connection)
    # Slow to import, and every --help reads this module.
    import asyncio  # noqa: PLC0415 - see above

    from computepool_client.cli.top.app import TopApp  # noqa: PLC0415 - see above

    app = TopApp(connection.endpoint, connection.client, interval, precision)
    asyncio.run(_run(app))
    if app.return_code:
        raise typer.Exit(app.return_code)


def _check(context: typer.Context, connection: Connection) -> None:
    """Whether a screen is what is wanted, and can be drawn."""
    source = context.get_parameter_source("as_json")
    if connection.as_json and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter(
            "a live screen is no document: use `computepool view --watch --json`",
            param_hint="--json",
        )
    if not _on_a_terminal():
        raise typer.BadParameter(
            "it needs a terminal to draw on; elsewhere use `computepool view` or"
            " `computepool view --watch --json`",
            param_hint="top",
        )


def _on_a_terminal() -> bool:
    # The screen is drawn on stderr, whatever becomes of stdout.
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(each.isatty() for each in streams) and os.environ.get("TERM", "dumb") != "dumb"


async def _run(app: "TopApp") -> None:
    """Runs it so that the terminal is put in order again, whatever ends it."""
    import asyncio  # noqa: PLC0415 - see top()

    loop = asyncio.get_running_loop()

    def without_terminal() -> None:
        # Nothing is left to be put in order, and writing to what has gone may never end.
        last = threading.Timer(_END_WITHIN_S, os._exit, (exits.Exit.FAILED,))
        last.daemon = True
        last.start()
        app.exit()

    loop.add_signal_handler(signal.SIGTERM, app.exit)
    loop.add_signal_handler(signal.SIGHUP, without_terminal)
    await app.run_async()
