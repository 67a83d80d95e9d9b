"""`computepool config`: which settings are in force, and where each is from."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from computepool_client.cli import documents, flags, screen, settings
from computepool_client.cli.connection import Printing

if TYPE_CHECKING:
    from computepool_client.cli.settings import Found

_PARAMETERS = {
    "endpoint": "endpoint",
    "timeout": "timeout_s",
    "output": "output",
    "tenant": "tenant",
}


@dataclass(frozen=True, slots=True)
class Whose:
    """The tenant, as every command that asks for an allocation takes it."""

    tenant: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            envvar="COMPUTEPOOL_TENANT",
            parser=flags.parser(settings.parse_tenant),
            show_default='the config file\'s, else "default"',
            help="Whose allocations are asked for.",
        ),
    ] = field(default_factory=settings.tenant)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "config", "Look")(config)


def config(context: typer.Context, connection: Printing, whose: Whose) -> None:
    """Show the settings in force and where each is from: flag, environment, file, built in.

    A flag goes before the environment, the environment before the config file.
    """
    file = settings.path()
    settings.from_file()  # a file that cannot be read is told, also when no setting needs it
    given = {"timeout": f"{connection.timeout_s:g}s"} | {
        "endpoint": connection.endpoint,
        "output": connection.output,
        "tenant": whose.tenant,
    }
    found = {key: _found(context, key, given[key]) for key in _PARAMETERS}
    if connection.as_json:
        values: dict[str, Any] = {
            key: {"value": each.text, "source": each.source} for key, each in found.items()
        }
        documents.dump({"file": str(file), "file_exists": file.exists(), "settings": values})
    elif connection.names_only:
        for key in found:
            screen.say_name(key)
    else:
        _show(found)
        there = "" if file.exists() else " (there is none)"
        screen.say(f"config file: {file}{there}")


def _found(context: typer.Context, key: str, value: str) -> "Found":
    """The source of a value; what was not given by flag is looked up again."""
    if _given(context, _PARAMETERS[key]):
        return settings.Found(value, f"--{key}")
    if key == "output" and _given(context, "as_json"):
        return settings.Found(value, "--json")
    return settings.Found(value, settings.find(key).source)


def _given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _show(found: "dict[str, Found]") -> None:
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    columns = (
        render.Column("setting"),
        render.Column("value", fold=True),
        render.Column("from", fold=True, least=30),
    )
    rows = [(key, each.text, each.source) for key, each in found.items()]
    render.show(screen.stdout(), columns, rows)
