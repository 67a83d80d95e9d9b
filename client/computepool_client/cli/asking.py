"""Asking a person before something that cannot be undone."""

import sys

import typer

from computepool_client.cli import exits, screen


def confirm(question: str, otherwise: str, why: str) -> None:
    """Asks on a terminal, and ends the command unless the answer is yes.

    Args:
        question: what is asked; cleaned here.
        otherwise: what is said when the answer is no.
        why: what --yes would confirm, where nobody can be asked.

    Raises:
        typer.BadParameter: nobody can be asked.
        typer.Exit: the answer is not yes.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"nobody can be asked here, so it must be given: {why}", param_hint="--yes"
        )
    if not typer.confirm(screen.clean(question), err=True):
        screen.remark(otherwise)
        raise typer.Exit(exits.Exit.FAILED)
