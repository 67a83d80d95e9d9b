"""Bundles of flags: a frozen dataclass whose fields become options of a command.

Twenty options shared by two commands are written once. A bundle's field is an
`Annotated[type, typer.Option(...)]` with its default, or a factory of it; a command
that takes a parameter of the bundle's type gets it filled. Imports typer only.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import typer

_Made = TypeVar("_Made")
_Function = TypeVar("_Function", bound=Callable[..., None])


def command(app: typer.Typer, name: str, panel: str) -> Callable[[_Function], _Function]:
    """Registers a function as a command, its bundles taken apart; `panel` groups the help."""

    def register(function: _Function) -> _Function:
        app.command(name, rich_help_panel=panel)(_expanded(function))
        return function

    return register


def parser(parse: Callable[[str], _Made]) -> Callable[[str], _Made]:
    """A parser for typer of one that raises `ValueError`: the text becomes a usage error.

    A default that is no text any more is taken as it is.
    """

    def parse_or_explain(text: str | _Made) -> _Made:
        if not isinstance(text, str):
            return text
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse_or_explain


def _expanded(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with its own parameters first, then the fields of its bundles."""
    hints = get_type_hints(function, include_extras=True)
    own_parameters: list[inspect.Parameter] = []
    bundled: list[inspect.Parameter] = []
    bundles: dict[str, type[Any]] = {}
    for own in inspect.signature(function).parameters.values():
        hint = hints[own.name]
        if is_dataclass(hint) and isinstance(hint, type):
            bundles[own.name] = hint
            bundled += _fields_as_parameters(hint)
        else:
            own_parameters.append(own.replace(annotation=hint, kind=own.KEYWORD_ONLY))

    parameters = [*own_parameters, *bundled]

    def call(**values: Any) -> None:
        filled = {
            name: kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            for name, kind in bundles.items()
        }
        function(**filled, **values)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def _fields_as_parameters(bundle: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=hints[field.name],
        )
        for field in fields(bundle)
    ]


def _default(field: "Field[Any]") -> Any:
    """A field's default; a factory is called only when neither flag nor environment says more."""
    return field.default if field.default is not MISSING else field.default_factory
