"""How `up` speaks: lines for people, or one JSON object per event."""

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from computepool_client.cli import documents, screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Voice:
    """Says what happens on stdout, with the time of day."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def event(
        self, kind: str, text: str, more: "Mapping[str, documents.Json] | None" = None
    ) -> None:
        """One event: `kind` is a stable word, `more` goes into the JSON form only."""
        now = datetime.now(UTC)
        if self.as_json:
            time = now.isoformat(timespec="milliseconds")
            line = {"time": time, "event": kind, "text": text, **(more or {})}
            documents.dump(line, sys.stdout, line=True)
        else:
            screen.say(f"{now.astimezone():%H:%M:%S}  {text}")

    def plain(self, text: str) -> None:
        """A line for people only."""
        if not self.as_json:
            screen.say(text)

    def whole(self, text: str) -> None:
        """A line for people only, to be copied: never broken."""
        if not self.as_json:
            screen.say_whole(text)

    @contextmanager
    def progress(self) -> "Iterator[Callable[[str], None]]":
        """A live line on a terminal; elsewhere a line whenever it changes."""
        console = screen.stdout()
        if self.as_json or not console.is_terminal:
            last = ""

            def tell(text: str) -> None:
                nonlocal last
                if text != last:
                    last = text
                    self.event("progress", text)

            yield tell
            return
        with console.status("starting") as status:
            yield lambda text: status.update(screen.clean(text))
