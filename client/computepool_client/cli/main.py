"""The command `computepool`: puts its groups together and turns errors into statuses."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from computepool_client import errors
from computepool_client.cli import (
    agents,
    allocate,
    allocations,
    audit,
    brokers,
    centers,
    config,
    connection,
    cordon,
    drain,
    exits,
    explain,
    many,
    nodes,
    version,
    view,
    watch,
)
from computepool_client.cli.doctor import command as doctor
from computepool_client.cli.top import command as top
from computepool_client.cli.up import command as up
from computepool_client.cli.up_ha import command as up_ha

_LEAST_COLUMNS = 10
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_EPILOG = (
    "Exit status: 0 done, 2 wrong usage, 3 no room, 4 not found, 5 no broker answers or it is not"
    " ready, 6 refused in the present state, 1 anything else, 130 interrupted."
)


def build() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="computepool",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common)
    # The order of the help.
    for group in (
        up,
        up_ha,
        view,
        top,
        centers,
        nodes,
        allocate,
        explain,
        allocations,
        many,
        agents,
        brokers,
        watch,
        audit,
        cordon,
        drain,
        doctor,
        config,
        version,
    ):
        group.register(app)
    return app


def _common(
    version_: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        typer.Option(
            "--version", is_eager=True, callback=version.tell_and_exit, help="Show the version."
        ),
    ] = False,
) -> None:
    """One pool of computing power over many centers: see it, get some, give it back."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status; never raises."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = connection.json_wanted(given)
    _mend_surroundings()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets another, not an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command = typer.main.get_command(build())
        # Outside of standalone mode a usage error is raised, and can be told as JSON.
        result = command.main(given, prog_name="computepool", standalone_mode=not as_json)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else exits.Exit.FAILED
    except errors.PoolError as error:
        return exits.tell(error, as_json=as_json)
    except OSError as error:
        return _unwritten(error, as_json=as_json)
    except KeyboardInterrupt:
        return exits.Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last stop: no traceback to a user
        return _unforeseen(error, as_json=as_json)
    return result if isinstance(result, int) else exits.Exit.DONE


def _mend_surroundings() -> None:
    """Closed standard streams, and a terminal of no width, are as good as none."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It takes the free number of the closed one, which else the first connection gets.
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - until the end
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) < _LEAST_COLUMNS:
        del os.environ["COLUMNS"]


def _unwritten(error: OSError, *, as_json: bool) -> int:
    """Whoever read our output has gone, or there is no room for it."""
    gone = isinstance(error, BrokenPipeError)
    if not gone:
        if error.errno not in _NOT_WRITTEN or error.filename is not None:
            return _unforeseen(error, as_json=as_json)
        text = f"the output cannot be written: {error.strerror}"
        exits.tell_plainly(text, exits.Exit.FAILED, as_json=as_json, reason="OUTPUT")
    # Nothing may be flushed to it at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exits.Exit.FAILED


def _unforeseen(error: Exception, *, as_json: bool) -> int:
    usage = getattr(error, "format_message", None)
    if callable(usage):
        return exits.tell_plainly(str(usage()), exits.Exit.USAGE, as_json=as_json, reason="USAGE")
    if os.environ.get("COMPUTEPOOL_DEBUG"):
        traceback.print_exception(error)
    text = f"unforeseen {type(error).__name__}: {error} (COMPUTEPOOL_DEBUG=1 shows where)"
    return exits.tell_plainly(text, exits.Exit.FAILED, as_json=as_json, reason="UNFORESEEN")


if __name__ == "__main__":
    sys.exit(main())
