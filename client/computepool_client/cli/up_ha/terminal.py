"""The menu under the lines, and the keys: only where somebody sits at a terminal."""

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from computepool_client.cli import screen

_MOST_KEYS: Final = 64


def interactive() -> bool:
    """Whether there is somebody who sees the menu and can type."""
    return sys.stdin.isatty() and screen.can_be_redrawn()


@contextmanager
def footer() -> Iterator[Callable[[str], None]]:
    """Keeps a line below all that is said; gives what changes it."""
    from rich.live import Live  # noqa: PLC0415 - only a terminal pays for it
    from rich.text import Text  # noqa: PLC0415 - see above

    console = screen.stdout()
    with (
        screen.written_to(console),
        Live(Text(""), console=console, auto_refresh=False, transient=True) as live,
    ):
        yield lambda text: live.update(Text(text, style="reverse"), refresh=True)


@contextmanager
def keys(take: Callable[[str], None]) -> Iterator[None]:
    """Hands every key to `take` at once, in the running loop; Ctrl-C stays a signal."""
    loop, fd = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def read() -> None:
        data = os.read(fd, _MOST_KEYS)
        if not data:  # the terminal has gone
            loop.remove_reader(fd)
        for key in data.decode(errors="ignore"):
            take(key)

    tty.setcbreak(fd)
    loop.add_reader(fd, read)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
