"""The terminal: consoles, and text from outside made fit for it.

Rich is imported on first use. Colours appear only on terminals, and not with
NO_COLOR. Where the output is no terminal nothing is cut to a width.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_instead: "ContextVar[Console | None]" = ContextVar("_instead", default=None)

# Wide enough for any table, where no terminal says how wide it is.
_WIDTH_OF_A_FILE = 240


def stdout() -> "Console":
    """The console for answers."""
    return _instead.get() or _console(to_stderr=False)


@contextmanager
def written_to(console: "Console") -> Iterator[None]:
    """All that is said goes to another console meanwhile: one that keeps it for a live screen."""
    token = _instead.set(console)
    try:
        yield
    finally:
        _instead.reset(token)


def stderr() -> "Console":
    """The console for errors and progress."""
    return _instead.get() or _console(to_stderr=True)


def can_be_redrawn() -> bool:
    """Answers go to a terminal, and to one that can move its cursor."""
    console = stdout()
    return console.is_terminal and not console.is_dumb_terminal


def clean(text: str) -> str:
    """Text from outside without control characters: it must not steer the terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def complain(message: str) -> None:
    """One error, on stderr."""
    from rich.text import Text  # noqa: PLC0415 - only what prints pays for rich

    stderr().print(Text.assemble(("Error: ", "bold red"), _clean_lines(message)))


def _clean_lines(text: str) -> str:
    return "\n".join(clean(line) for line in text.split("\n"))


def remark(message: str) -> None:
    """One line beside the answer, on stderr."""
    stderr().print(clean(message), markup=False)


def remark_whole(message: str) -> None:
    """A line beside the answer that is never broken, so that it can be copied."""
    stderr().print(clean(message), markup=False, soft_wrap=True)


def say(message: str, style: str = "") -> None:
    """A sentence of the answer; a narrow terminal breaks it between words."""
    stdout().print(clean(message), style=style or None, markup=False)


def say_whole(message: str) -> None:
    """A line of the answer that is never broken, so that it can be copied."""
    stdout().print(clean(message), markup=False, soft_wrap=True)


def say_name(name: str) -> None:
    """A name alone on its line, for scripts; needs no rich."""
    print(clean(name))  # noqa: T201 - the answer


def flush() -> None:
    """What was said reaches who reads it, also through a pipe."""
    sys.stdout.flush()


def _console(*, to_stderr: bool) -> "Console":
    from rich.console import Console  # noqa: PLC0415 - only what prints pays for rich

    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDTH_OF_A_FILE
    return Console(stderr=to_stderr, width=width, highlight=False, markup=False, emoji=False)
