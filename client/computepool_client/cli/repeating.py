"""Looking again and again: a live screen on a terminal, else one answer after the other."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeVar

import typer

from computepool_client.cli import flags, lasting, screen, units

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from computepool_client.cli.connection import Printing

_Seen = TypeVar("_Seen")
_PANEL: Final = "Again and again"
_DEFAULT_S: Final = 2.0
_LEAST_S: Final = 0.2


def _interval(text: str) -> float:
    seconds = units.parse_duration_s(text)
    if seconds < _LEAST_S:
        raise ValueError(f"{text!r} is out of range: at least 200ms")
    return seconds


@dataclass(frozen=True, slots=True)
class Repeat:
    """Whether to look again, and how often."""

    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Look again and again until Ctrl-C; with --json one document a line.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            parser=flags.parser(_interval),
            show_default="2s",
            help="With --watch: the pause between two looks, at least 200ms.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def every_s(self) -> float:
        """The pause between two looks, in seconds.

        Raises:
            typer.BadParameter: there is to be only one look.
        """
        if self.interval is not None and not self.watch:
            raise typer.BadParameter("it needs --watch", param_hint="--interval")
        return _DEFAULT_S if self.interval is None else self.interval


def run(
    connection: "Printing",
    repeat: Repeat,
    look: Callable[[], _Seen],
    show: Callable[[_Seen], None],
) -> None:
    """Looks once and shows what is seen, or again and again until Ctrl-C."""
    every_s = repeat.every_s()
    seen = look()
    if not repeat.watch:
        show(seen)
    elif connection.as_json or connection.names_only or not screen.can_be_redrawn():
        _in_a_row(connection, every_s, seen, look, show)
    else:
        _on_a_screen(every_s, seen, look, show)


def _in_a_row(
    connection: "Printing",
    every_s: float,
    seen: _Seen,
    look: Callable[[], _Seen],
    show: Callable[[_Seen], None],
) -> NoReturn:
    with_time = not connection.as_json and not connection.names_only
    failed = False
    while True:
        if not failed:
            if with_time:
                screen.say(time.strftime("%Y-%m-%d %H:%M:%S"))
            show(seen)
            screen.flush()
        time.sleep(every_s)
        before, failed = failed, False
        try:
            seen = look()
        except lasting.PASSING as error:
            failed = True
            if not before:
                screen.remark(f"{error.message}; still asking")


def _on_a_screen(
    every_s: float, seen: _Seen, look: Callable[[], _Seen], show: Callable[[_Seen], None]
) -> NoReturn:
    from rich.live import Live  # noqa: PLC0415 - only a live screen pays for it

    console = screen.stdout()
    seen_at, failure = time.monotonic(), ""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            age_s = time.monotonic() - seen_at
            state = f"no answer for {age_s:.0f} s: {failure}" if failure else ""
            live.update(_frame(console, every_s, state, partial(show, seen)), refresh=True)
            time.sleep(every_s)
            try:
                seen, failure, seen_at = look(), "", time.monotonic()
            except lasting.PASSING as error:
                failure = error.message


def _frame(console: "Console", every_s: float, state: str, show: Callable[[], None]) -> "Text":
    """One picture, no higher than the terminal: a headline, then what `show` prints."""
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    written = io.StringIO()
    kept = Console(
        file=written,
        width=console.width,
        height=console.height,
        force_terminal=True,
        color_system=console.color_system,  # type: ignore[arg-type]  # its own word for it
        no_color=console.no_color,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with screen.written_to(kept):
        show()
    lines = written.getvalue().rstrip("\n").split("\n")
    room = max(1, console.height - 2)
    if len(lines) > room:
        hidden = len(lines) - room + 1
        lines = [*lines[: room - 1], f"... {hidden} more lines below the edge of the terminal"]
    head = f"{time.strftime('%H:%M:%S')}, every {every_s:g} s; Ctrl-C ends"
    headline = Text(f"{head}; {state}" if state else head, "bold yellow" if state else "dim")
    picture = Text("\n").join([headline, Text.from_ansi("\n".join(lines))])
    picture.no_wrap, picture.overflow = True, "crop"
    return picture
