"""`computepool version`."""

from typing import Annotated

import typer

from computepool_client.cli import documents, flags, screen

# Version 1 of the protocol is the package computepool.v1.
_PROTOCOL = "computepool.v1"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "version", "Look")(version)


def tell_and_exit(value: bool) -> None:  # noqa: FBT001 - what typer calls it with
    """`--version`: prints the version and ends the command."""
    if value:
        version()
        raise typer.Exit


def version(
    as_json: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--json", help="Print one JSON document.")
    ] = False,
) -> None:
    """Print the version of this command and of the protocol that it speaks."""
    from importlib.metadata import version as version_of  # noqa: PLC0415 - slow to import

    found = version_of("computepool")
    if as_json:
        documents.dump({"version": found, "protocol": _PROTOCOL})
    else:
        screen.say(f"computepool {found} ({_PROTOCOL})")
