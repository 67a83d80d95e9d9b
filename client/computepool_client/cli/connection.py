"""The flags that every command has, and the client that they lead to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final

import typer

from computepool_client.cli import flags, settings, units
from computepool_client.cli.settings import DEFAULT_ENDPOINT, parse_endpoint

if TYPE_CHECKING:
    from computepool_client.client import PoolClient

__all__ = ["DEFAULT_ENDPOINT", "Connection", "Patient", "Printing", "json_wanted", "parse_endpoint"]

_PANEL: Final = "Connection and output"


def _form(text: str) -> str:
    return settings.parse_output(text) if text else ""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the brokers are, how long to wait for them, and whether to print JSON."""

    endpoint: Annotated[
        str,
        typer.Option(
            "--endpoint",
            "-e",
            envvar="COMPUTEPOOL_ENDPOINT",
            metavar="HOST:PORT[,...]",
            parser=flags.parser(parse_endpoint),
            show_default=f"the config file's, else {DEFAULT_ENDPOINT}",
            help="The broker to call; of several, joined by commas, the first that serves.",
            rich_help_panel=_PANEL,
        ),
    ] = field(default_factory=settings.endpoint)
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            envvar="COMPUTEPOOL_TIMEOUT",
            metavar="DURATION",
            parser=flags.parser(units.parse_duration_s),
            show_default="the config file's, else 10s",
            help="Give up a call after this long (500ms, 30s, 10m, 2h, 1d).",
            rich_help_panel=_PANEL,
        ),
    ] = field(default_factory=settings.timeout_s)
    as_json: Annotated[
        bool,
        typer.Option(
            "--json/--no-json",
            show_default=False,
            help="Print one JSON document with the names of the protocol; errors too, on stderr.",
            rich_help_panel=_PANEL,
        ),
    ] = field(default_factory=settings.as_json)

    def client(self) -> "PoolClient":
        """A client of the endpoints; use it in a `with` statement."""
        # gRPC's own log lines mean nothing to who types a command.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from computepool_client.client import PoolClient  # noqa: PLC0415 - gRPC is slow to import

        return PoolClient(self.endpoint, timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True)
class Printing(Connection):
    """The connection of a command whose answer has several forms."""

    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            envvar="COMPUTEPOOL_OUTPUT",
            metavar="FORM",
            parser=flags.parser(_form),
            show_default="table",
            help="table; wide, with every column; json, the same as --json; or name: one name a"
            " line, for scripts.",
            rich_help_panel=_PANEL,
        ),
    ] = ""

    def __post_init__(self) -> None:
        # What --output says goes before --json; without either the config file's form.
        output = self.output or ("json" if self.as_json else _not_json(settings.output()))
        object.__setattr__(self, "output", output)
        object.__setattr__(self, "as_json", output == "json")

    @property
    def wide(self) -> bool:
        """Every column is wanted."""
        return self.output == "wide"

    @property
    def names_only(self) -> bool:
        """Only names are wanted, one a line."""
        return self.output == "name"


@dataclass(frozen=True, slots=True)
class Patient(Printing):
    """The connection of a command that goes on until something has happened, or for ever."""

    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            parser=flags.parser(units.parse_duration_s),
            show_default="never",
            help="Stop after this long (30s, 10m, 2h, 1d).",
            rich_help_panel=_PANEL,
        ),
    ] = 0.0


def _not_json(output: str) -> str:
    return "table" if output == "json" else output


def json_wanted(arguments: Sequence[str]) -> bool:
    """Whether errors are to be told as JSON, known before the arguments are parsed."""
    for given, following in pairwise([*arguments, ""]):
        form = following if given in ("-o", "--output") else _joined(given)
        if form in settings.FORMS:
            return form == "json"
    if "--json" in arguments or "--no-json" in arguments:
        return "--json" in arguments
    try:
        return settings.as_json()
    except settings.BadConfigError:
        return False


def _joined(given: str) -> str:
    """The form of `--output=FORM` and `-oFORM`."""
    flag = "--output=" if given.startswith("--output=") else "-o"
    return given.removeprefix(flag) if given.startswith(flag) else ""
