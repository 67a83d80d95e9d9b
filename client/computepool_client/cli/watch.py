"""`computepool watch`: a line whenever an allocation changes."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from computepool_client import errors
from computepool_client.cli import documents, flags, grants, lasting, screen
from computepool_client.cli.connection import Patient

if TYPE_CHECKING:
    from rich.text import Text

    from computepool.v1 import allocation_pb2
    from computepool_client.client import PoolClient

_STYLES: Final = {
    "ACTIVE": "green",
    "RESERVED": "cyan",
    "RELEASING": "yellow",
    "ENDED": "dim",
    "GONE": "bold red",
}
_MOST_REMEMBERED: Final = 10_000
_EXPIRED: Final = "RESUME_TOKEN_EXPIRED"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "watch", "Look")(watch)


def watch(
    connection: Patient,
    filter_by: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="EXPRESSION",
            help="Only allocations that match, by what never changes: id, tenant, request_id,"
            " labels.KEY, create_time; such as 'labels.job = \"train-7\"'.",
        ),
    ] = "",
    changes_only: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--changes-only", help="Only what changes from now on.")
    ] = False,
    resume_token: Annotated[
        str,
        typer.Option(
            metavar="TOKEN",
            help="Go on after the message of an earlier watch that --json printed.",
        ),
    ] = "",
) -> None:
    """Tell how allocations change, a line for each change, until Ctrl-C.

    First what is live, then every change: granted, admitted, released,
    expired. Goes on by itself, missing nothing, when the broker is started
    again. With --json one document a line, with a token to go on from, and at
    first also what has ended in the last hour.
    """
    if resume_token and changes_only:
        raise typer.BadParameter(
            "a token says itself where to go on", param_hint="--changes-only / --resume-token"
        )
    watching = _Watching(connection, filter_by, resume_token, changes_only=changes_only)
    with connection.client() as pool:
        watching.run(pool)


class _Watching:
    """One watch, over as many calls as it takes."""

    def __init__(
        self, connection: Patient, filter_by: str, resume_token: str, *, changes_only: bool
    ) -> None:
        self._connection = connection
        self._filter = filter_by
        self._token = resume_token
        self._changes_only = changes_only
        self._synced = False
        self._console = screen.stdout()
        self._told: dict[str, list[str]] = {}
        self._lasts = lasting.Lasting(connection.timeout_s)

    def run(self, pool: "PoolClient") -> None:
        """Tells changes until the time is over.

        Raises:
            PoolError: it cannot be watched, or no broker has ever answered.
        """
        while not self._lasts.is_over():
            try:
                self._follow(pool)
            except lasting.PASSING as error:
                if not self._lasts.is_over():
                    self._lasts.broke(error)
            except errors.WrongStateError as error:
                if error.reason != _EXPIRED or not self._lasts.begun:
                    raise
                screen.remark(f"{error.message}: some changes were missed; this is what there is:")
                self._token, self._changes_only, self._synced = "", False, False

    def _follow(self, pool: "PoolClient") -> None:
        answers = pool.watch_allocations(
            self._filter,
            resume_token=self._token,
            changes_only=self._changes_only,
            timeout_s=self._lasts.left_s(),
        )
        for answer in answers:
            self._lasts.answered()
            self._tell(answer)
            self._token = answer.resume_token or self._token
        raise errors.NoAnswerError("the broker ended the watch", "STREAM_ENDED")

    def _tell(self, answer: "allocation_pb2.WatchAllocationsResponse") -> None:
        if self._connection.as_json:
            documents.dump(documents.document(answer), line=True)
            return
        for event in answer.events:
            if _is_past(event):
                continue
            if self._connection.names_only:
                screen.say_name(event.allocation.id)
            else:
                self._tell_of(event)
        screen.flush()
        if answer.synced and not self._synced and not self._connection.names_only:
            self._synced = True
            screen.remark("That is what there is; changes follow. Ctrl-C ends.")

    def _tell_of(self, event: "allocation_pb2.AllocationEvent") -> None:
        """A line, unless it would say what the last one of this allocation said.

        When its parts are started, say, nothing changes that a line shows.
        """
        allocation = event.allocation
        words = _words(allocation, wide=self._connection.wide)
        if _is_gone(event):
            words = [f"{'GONE':<9}", *words[1:], "(the store has lost it, and no agent holds it)"]
        if self._told.pop(allocation.id, None) == words:
            self._told[allocation.id] = words
            return
        self._told[allocation.id] = words
        if len(self._told) > _MOST_REMEMBERED:
            del self._told[next(iter(self._told))]
        self._console.print(_line(event, words), soft_wrap=True)


def _is_past(event: "allocation_pb2.AllocationEvent") -> bool:
    """Had ended before the watch began: no news for a person."""
    existing = documents.enum_name(event, "kind").endswith("EXISTING")
    return existing and grants.state_of(event.allocation).startswith("ENDED")


def _is_gone(event: "allocation_pb2.AllocationEvent") -> bool:
    """Lost with the store: it is told as it was last known."""
    return documents.enum_name(event, "kind").endswith("GONE")


def _words(allocation: "allocation_pb2.Allocation", *, wide: bool) -> list[str]:
    """What a line says, the state first."""
    state, _, end = grants.state_of(allocation).partition(" ")
    words = [f"{state:<9}", allocation.tenant, grants.asked_for(allocation.spec)]
    words.append(grants.places(allocation) or "nowhere")
    words += [word for word in (end, allocation.end_message) if word]
    if wide:
        words += [f"{name}={allocation.labels[name]}" for name in sorted(allocation.labels)]
        words += [f"revision {allocation.revision}"]
    return [screen.clean(word) for word in words]


def _line(event: "allocation_pb2.AllocationEvent", words: list[str]) -> "Text":
    from rich.text import Text  # noqa: PLC0415 - only what prints pays for rich

    existing = documents.enum_name(event, "kind").endswith("EXISTING")
    when = "--:--:--" if existing else time.strftime("%H:%M:%S")
    state, *rest = words
    return Text.assemble(
        (f"{when}  {screen.clean(event.allocation.id)}  ", "dim" if existing else ""),
        (state, _STYLES.get(state.strip(), "")),
        "  " + "  ".join(rest),
    )
