"""`computepool drain`: no new grants, and waiting until nobody is left."""

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from computepool_client import errors
from computepool_client.cli import documents, exits, flags, lasting, screen, units
from computepool_client.cli.connection import Patient
from computepool_client.cli.cordon import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, Group
    from rich.table import Table

    from computepool.v1 import inventory_pb2

_LIVE_HOLDERS: Final = 8
_DAY_MS: Final = 86_400_000


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "drain", "Operate")(drain)


def drain(
    connection: Patient,
    target: Target,
    message: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for people; at most 1024 characters.")
    ] = "",
) -> None:
    """Cordon a node or a center, and wait until its last lease is gone.

    Nobody is evicted: leases go when they are released or expire. Says
    meanwhile who is still there. Ends with status 6 when --timeout is over
    before the last one is gone, or when somebody takes the cordon back. However
    it ends, the cordon stays until `computepool uncordon`. With --json one
    document a line.
    """
    field = target.field()
    from computepool.v1 import inventory_pb2  # noqa: PLC0415 - slow to import

    request = inventory_pb2.DrainRequest(message=message, **field)
    waiting = _Waiting(connection, target, request)
    try:
        last = waiting.wait()
    except KeyboardInterrupt:
        text = f"Stopped waiting: {waiting.who()}. {_stays(target)}"
        status = exits.tell_plainly(
            text, exits.Exit.INTERRUPTED, as_json=connection.as_json, reason="INTERRUPTED"
        )
        raise typer.Exit(status) from None
    if last.leases:
        _tell_held(connection, target, last)
        raise typer.Exit(exits.Exit.WRONG_STATE)
    if connection.names_only or connection.as_json:
        return
    screen.say(f"Drained {target}: no lease is left there. {_stays(target)}", "green")


class _Waiting:
    """One drain, over as many calls as it takes: a broker may be restarted meanwhile."""

    def __init__(
        self, connection: Patient, target: Target, request: "inventory_pb2.DrainRequest"
    ) -> None:
        self._connection = connection
        self._target = target
        self._request = request
        self._last: inventory_pb2.DrainResponse | None = None
        self._at_start = 0

    def wait(self) -> "inventory_pb2.DrainResponse":
        """The last answer: without leases, or when the time is over.

        Raises:
            PoolError: it cannot be drained, or no broker has ever answered.
        """
        lasts = lasting.Lasting(self._connection.timeout_s)
        with self._connection.client() as pool, _progress(self._connection, self._target) as tell:
            while True:
                try:
                    for answer in pool.drain(self._request, timeout_s=lasts.left_s()):
                        lasts.answered()
                        tell(self._noted(answer))
                        if not answer.leases:
                            return answer
                    raise errors.NoAnswerError("the broker ended the drain", "STREAM_ENDED")
                except lasting.PASSING as error:
                    if self._last is not None and lasts.is_over():
                        return self._last
                    lasts.broke(error)

    def who(self) -> str:
        """How many are still there, as far as is known."""
        if self._last is None:
            return "it is not known who is there"
        return f"{_leases(self._last.leases)} still there"

    def _noted(self, answer: "inventory_pb2.DrainResponse") -> "inventory_pb2.DrainResponse":
        # A call that goes on for a broken one counts from its own start.
        self._at_start = max(self._at_start, answer.leases_at_start)
        answer.leases_at_start = self._at_start
        self._last = answer
        return answer


def _tell_held(connection: Patient, target: Target, last: "inventory_pb2.DrainResponse") -> None:
    within = units.duration(int(connection.timeout_s * 1000))
    text = f"{target} is not drained within {within}: {_leases(last.leases)} still there"
    exits.tell_plainly(
        text, exits.Exit.WRONG_STATE, as_json=connection.as_json, reason="NOT_DRAINED"
    )
    if connection.as_json:
        return
    _show_holders(last, screen.stdout())
    screen.remark(_stays(target))


def _show_holders(answer: "inventory_pb2.DrainResponse", console: "Console") -> None:
    if answer.holders:
        console.print(_table(answer, len(answer.holders), console.width))
    if answer.holders_omitted:
        console.print(f"... and {answer.holders_omitted:,} more")


def _table(answer: "inventory_pb2.DrainResponse", most: int, width: int) -> "Table":
    from computepool_client.cli import render  # noqa: PLC0415 - tables are slow to import

    columns = (
        render.Column("allocation"),
        render.Column("tenant", fold=True),
        render.Column("node", fold=True, least=20),
        render.Column("goes", fold=True),
    )
    rows = [
        (
            each.allocation_id,
            each.tenant,
            each.node,
            "is being torn down" if each.releasing else _when(each.remaining_ttl_ms),
        )
        for each in answer.holders[:most]
    ]
    return render.table(columns, rows, width)


def _when(left_ms: int) -> str:
    """As a time of day, which stays true while nothing new is heard; or far away."""
    if left_ms >= _DAY_MS:
        return f"in {units.duration(left_ms)}, unless renewed"
    at = time.localtime(time.time() + left_ms / 1000)
    return f"at {time.strftime('%H:%M:%S', at)}, unless renewed"


@contextmanager
def _progress(
    connection: Patient, target: Target
) -> "Iterator[Callable[[inventory_pb2.DrainResponse], None]]":
    """Tells how far it is: a bar on a terminal, else a line when the number changes."""
    console = screen.stdout()
    if connection.as_json:
        yield lambda answer: documents.dump(documents.document(answer), line=True)
    elif connection.names_only or not screen.can_be_redrawn():
        yield _Lines(target, names_only=connection.names_only).tell
    else:
        from rich.live import Live  # noqa: PLC0415 - only a terminal pays for it

        with Live(console=console, transient=True, auto_refresh=False) as live:
            yield lambda answer: live.update(_bar(answer, target, console.width), refresh=True)


class _Lines:
    """A line whenever the number of leases changes; who holds them, at first."""

    def __init__(self, target: Target, *, names_only: bool) -> None:
        self._target = target
        self._names_only = names_only
        self._left = -1

    def tell(self, answer: "inventory_pb2.DrainResponse") -> None:
        first, changed = self._left < 0, answer.leases != self._left
        self._left = answer.leases
        if not changed or not answer.leases:
            return
        if self._names_only:
            for name in dict.fromkeys(each.allocation_id for each in answer.holders):
                screen.say_name(name)
        else:
            screen.say(f"{self._target} is cordoned; {_leases(answer.leases)} still there.")
            if first:
                _show_holders(answer, screen.stdout())
        screen.flush()


def _bar(answer: "inventory_pb2.DrainResponse", target: Target, width: int) -> "Group":
    from rich.console import Group  # noqa: PLC0415 - see above
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - see above
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    gone = answer.leases_at_start - answer.leases
    of = f"{max(0, gone):,} of {answer.leases_at_start:,} leases gone"
    head = Text(f"Draining {screen.clean(str(target))}: {of}; Ctrl-C stops waiting", "bold")
    hidden = len(answer.holders) - _LIVE_HOLDERS + answer.holders_omitted
    more = Text(f"... and {hidden:,} more" if hidden > 0 else "", "dim")
    bar = ProgressBar(total=max(1, answer.leases_at_start), completed=gone, width=min(width, 60))
    line = Table.grid()  # a bar alone does not end its line
    line.add_row(bar)
    return Group(head, line, _table(answer, _LIVE_HOLDERS, width), more)


def _leases(count: int) -> str:
    return "1 lease is" if count == 1 else f"{count:,} leases are"


def _stays(target: Target) -> str:
    return f"It stays cordoned until: computepool uncordon {target.flag()}"
