"""`computepool allocate` and `preview`: asking for computing power."""

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client import errors
from computepool_client.cli import (
    documents,
    exits,
    flags,
    grants,
    screen,
    spec,
    spec_flags,
    units,
    waiting,
)
from computepool_client.cli.connection import Connection, Printing

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool.v1 import allocation_pb2

# The broker is told to answer before the call's own deadline cuts the answer off.
_SHARE_OF_TIMEOUT = 0.8
_LONGEST_WAIT_MS = 60_000
_LONGEST_REQUEST_ID = 128


class Ack(StrEnum):
    """What the answer must guarantee."""

    COMMITTED = "committed"
    DURABLE = "durable"
    CONFIRMED = "confirmed"


class For(StrEnum):
    """The state that a grant is waited for in."""

    ACTIVE = "active"
    RESERVED = "reserved"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    flags.command(app, "allocate", "Allocate")(allocate)
    flags.command(app, "preview", "Allocate")(preview)


def _request_id(text: str) -> str:
    if not text or len(text) > _LONGEST_REQUEST_ID or not text.isprintable():
        raise ValueError("a request id has 1 to 128 printable characters")
    return text


def _state(text: str) -> For:
    return For(units.parse_word(text, tuple(For), "state to wait for"))


def _ack(text: str) -> Ack:
    return Ack(units.parse_word(text, tuple(Ack), "level of acknowledgement"))


@dataclass(frozen=True, slots=True)
class Terms:
    """How to ask, besides what for."""

    request_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            parser=flags.parser(_request_id),
            show_default="a fresh random one",
            help="Repeating a call with the same id gives the same allocation, never a second.",
        ),
    ] = None
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="Free text; at most 1024 characters.")
    ] = ""
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A label of the allocation; may be repeated."),
    ] = None
    wait_for: Annotated[
        For,
        typer.Option(
            "--for",
            metavar="STATE",
            parser=flags.parser(_state),
            help="Answer when all agents have admitted it (active), or when the grant is in the"
            " broker's store (reserved).",
        ),
    ] = For.ACTIVE
    ack: Annotated[
        Ack | None,
        typer.Option(
            metavar="LEVEL",
            parser=flags.parser(_ack),
            show_default="the broker's",
            help="What the answer must guarantee: in the store (committed), on its disk (durable),"
            " or admitted by all agents, too (confirmed).",
        ),
    ] = None
    wait: Annotated[
        float,
        typer.Option(
            metavar="DURATION",
            parser=flags.parser(units.parse_duration_s),
            show_default="do not wait",
            help="While there is no room, or no broker, ask again for this long (30s, 10m, 2h).",
        ),
    ] = 0.0


def allocate(wanted: spec.Wanted, terms: Terms, connection: Printing) -> None:
    """Get devices, cores, memory: prints where, which devices, until when, what to paste.

    Ends with status 3 when there is no room, and says why for each center.
    With --wait it asks again at the moments that the broker suggests. Ctrl-C
    while waiting ends with status 130 and says whether something may have been
    granted.
    """
    request = _request(connection, wanted, terms)
    with connection.client() as pool:
        asking = waiting.Asking(pool, request, connection.timeout_s)
        with (
            _explained(asking, as_json=connection.as_json, waited=bool(terms.wait)),
            _progress(connection) as tell,
        ):
            answer = asking.until(terms.wait, tell)
    if connection.as_json:
        documents.dump(documents.document(answer))
    else:
        if answer.duplicate:
            screen.remark("This request id was granted before: here is that allocation.")
        if connection.names_only:
            screen.say_name(answer.allocation.id)
        else:
            grants.show(answer.allocation, wide=connection.wide, ack=grants.ack_of(answer))
    if not grants.is_live(answer.allocation):
        raise typer.Exit(exits.Exit.FAILED)


def preview(wanted: spec.Wanted, connection: Printing) -> None:
    """Say where `allocate` with the same flags would place it now, or why not.

    Changes nothing. Ends with status 3 when there is no room, and says then
    what would fit instead. With -o name it prints the nodes.
    """
    message = wanted.message()
    with connection.client() as pool:
        answer = pool.preview(wanted.tenant, message)
    refused = answer.HasField("refusal")
    if connection.as_json:
        documents.dump(documents.document(answer))
    elif connection.names_only:
        for node in dict.fromkeys(lease.node for lease in answer.leases):
            screen.say_name(node)
    elif refused:
        from computepool_client.cli import refusals  # noqa: PLC0415 - tables are slow to import

        refusals.show(answer.refusal, screen.stdout(), wanted.tenant, wide=connection.wide)
        if check := refusals.what_to_check(answer.refusal):
            screen.remark(check)
    else:
        screen.say(f"There is room for {grants.asked_for(message)}:")
        grants.show_leases(answer.leases, with_state=False, wide=connection.wide)
        screen.say("Nothing is held: another may take it before you ask.")
    if refused:
        raise typer.Exit(exits.Exit.NO_ROOM)


def _request(
    connection: Connection, wanted: spec.Wanted, terms: Terms
) -> "allocation_pb2.CreateAllocationRequest":
    message = wanted.message()
    labels = spec.pairs(terms.label, "--label")
    from computepool.v1 import allocation_pb2  # noqa: PLC0415 - slow to import
    from computepool_client import to_wire  # noqa: PLC0415 - slow to import

    waits = {
        For.ACTIVE: allocation_pb2.WAIT_FOR_ACTIVE,
        For.RESERVED: allocation_pb2.WAIT_FOR_RESERVED,
    }
    wait_ms = int(connection.timeout_s * 1000 * _SHARE_OF_TIMEOUT)
    return allocation_pb2.CreateAllocationRequest(
        tenant=wanted.tenant,
        request_id=terms.request_id or uuid.uuid4().hex,
        spec=message,
        description=terms.description,
        labels=labels,
        wait_for=waits[terms.wait_for],
        wait_ms=max(1, min(wait_ms, _LONGEST_WAIT_MS)) if terms.wait_for is For.ACTIVE else 0,
        ack_level=to_wire.ack(terms.ack.value if terms.ack is not None else None),
    )


@contextmanager
def _explained(asking: waiting.Asking, *, as_json: bool, waited: bool) -> Iterator[None]:
    """Says after a failure or Ctrl-C what may have been granted, and what to do."""
    request_id = asking.request.request_id
    try:
        yield
    except errors.NoRoomError as error:
        status = exits.tell(error, as_json=as_json)
        if not as_json:
            _advise(error, asking.request, waited=waited)
        raise typer.Exit(status) from None
    except errors.PoolError as error:
        if asking.maybe_granted:
            error.message += f". {_perhaps(request_id)}"
        raise
    except KeyboardInterrupt:
        certain = f"nothing was granted (request id {request_id})"
        message = f"Stopped: {_perhaps(request_id) if asking.maybe_granted else certain}"
        status = exits.tell_plainly(
            message, exits.Exit.INTERRUPTED, as_json=as_json, reason="INTERRUPTED"
        )
        raise typer.Exit(status) from None


def _advise(
    error: errors.NoRoomError, request: "allocation_pb2.CreateAllocationRequest", *, waited: bool
) -> None:
    from computepool_client.cli import refusals  # noqa: PLC0415 - tables are slow to import

    beyond = error.wire_refusal is not None and error.wire_refusal.beyond_pool
    check = refusals.what_to_check(error.wire_refusal)
    if check:
        screen.remark(check)
    elif not waited and not beyond:
        screen.remark("With --wait 10m it is asked for again until there is room.")
    line = spec_flags.command("explain", request.spec, request.tenant)
    screen.remark_whole(f"What would fit instead: {line}")


def _perhaps(request_id: str) -> str:
    return (
        "it may have been granted: look with `computepool list`, or repeat the command"
        f" with --request-id {request_id} to get it"
    )


@contextmanager
def _progress(connection: Connection) -> "Iterator[Callable[[waiting.Pause], None]]":
    """Tells about a wait: a live line on a terminal, else a line when the cause changes."""
    console = screen.stderr()
    if connection.as_json or not console.is_terminal:
        yield _Changes(as_json=connection.as_json).tell
        return
    with console.status("asking") as status:
        yield lambda pause: status.update(screen.clean(_line(pause)))


class _Changes:
    """Prints a pause only when its cause is another than before."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._last = ""

    def tell(self, pause: waiting.Pause) -> None:
        cause = _cause(pause.error)
        if cause == self._last:
            return
        self._last = cause
        if self._as_json:
            waited: documents.Json = {
                "reason": pause.error.reason,
                "message": cause,
                "waited_s": round(pause.waited_s, 1),
                "of_s": pause.of_s,
                "retry_in_s": round(pause.next_s, 1),
            }
            documents.dump({"waiting": waited}, sys.stderr, line=True)
        else:
            screen.remark(_line(pause))


def _line(pause: waiting.Pause) -> str:
    return (
        f"waiting {units.age(int(pause.waited_s * 1000))}"
        f" of {units.duration(int(pause.of_s * 1000))}: {_cause(pause.error)};"
        f" next try in {pause.next_s:.0f}s"
    )


def _cause(error: errors.PoolError) -> str:
    if isinstance(error, errors.NoRoomError):
        from computepool_client.cli import refusals  # noqa: PLC0415 - tables are slow to import

        return refusals.in_short(error.wire_refusal)
    return error.message
