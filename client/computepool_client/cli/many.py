"""`computepool renew` and `release`: one allocation, several, or all that match a filter."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from computepool_client import errors
from computepool_client.cli import asking, documents, exits, flags, grants, screen, units
from computepool_client.cli.connection import Connection

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2
    from computepool_client.client import PoolClient

# The most that one call of the protocol takes.
_RENEWED_AT_ONCE: Final = 10_000
_RELEASED_AT_ONCE: Final = 1_000
_SHOWN: Final = 20
# Numbers of gRPC's status codes, as a failure of one among several carries them.
_INVALID_ARGUMENT: Final = 3
_NOT_FOUND: Final = 5

_Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", show_default=False, help="Ids of allocations."),
]


class StoreAck(StrEnum):
    """What the answer to a release must guarantee: there is nothing for agents to confirm."""

    COMMITTED = "committed"
    DURABLE = "durable"


def _ack(text: str) -> StoreAck:
    return StoreAck(units.parse_word(text, tuple(StoreAck), "level of acknowledgement"))


@dataclass(frozen=True, slots=True)
class Matching:
    """Which allocations, where they are not named."""

    filter_by: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="EXPRESSION",
            help="All live allocations that match instead, such as 'labels.job = \"train-7\"';"
            " docs/protocol.md has the grammar and the fields.",
        ),
    ] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --filter: do not ask.")] = False


@dataclass(slots=True)
class _Done:
    """What became of them so far."""

    count: int
    failures: "list[allocation_pb2.BatchFailure]"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    flags.command(app, "renew", "Allocate")(renew)
    flags.command(app, "release", "Allocate")(release)


def renew(
    connection: Connection,
    matching: Matching,
    allocation: _Ids = None,
    ttl: Annotated[
        int,
        typer.Option(
            metavar="DURATION",
            parser=flags.parser(units.parse_ttl_s),
            show_default="as it was",
            help="A new time to live from now on: 10s to 365d.",
        ),
    ] = 0,
) -> None:
    """Make the time to live of allocations start anew. Status 6 when one has ended.

    One that fails does not keep the others from being renewed; the status is
    that of the first failure.
    """
    _check(matching, allocation)
    with connection.client() as pool:
        if allocation and len(allocation) == 1:
            found = pool.renew(allocation[0], ttl_s=ttl)
            _tell_of_one(
                connection, found, f"Renewed {found.id}: it expires in {grants.expiry(found)}."
            )
            return
        ids = _ids(pool, matching, allocation, "Renew")

        def some(part: Sequence[str]) -> _Done:
            answer = pool.renew_many(part, ttl_s=ttl)
            return _Done(answer.renewed, list(answer.failures))

        done = _in_parts(ids, _RENEWED_AT_ONCE, some, "renewed")
    _tell(connection, done, "renewed")


def release(
    connection: Connection,
    matching: Matching,
    allocation: _Ids = None,
    message: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for people; at most 1024 characters.")
    ] = "",
    ack: Annotated[
        StoreAck | None,
        typer.Option(
            metavar="LEVEL",
            parser=flags.parser(_ack),
            show_default="the broker's",
            help="What the answer must guarantee: in the store (committed), or on its disk"
            " (durable). Several are then released one after the other.",
        ),
    ] = None,
) -> None:
    """Give allocations back; one that has ended stays as it is.

    They end for the tenant at once; the devices come back when the agents have
    confirmed that nothing is left on them. One that fails does not keep the
    others from being released; the status is that of the first failure.
    """
    _check(matching, allocation)
    with connection.client() as pool:
        if allocation and len(allocation) == 1:
            found = pool.release(allocation[0], message=message, ack_level=_level(ack))
            _tell_of_one(
                connection,
                found,
                f"Released {found.id}: it is {grants.state_of(found)}{_said(ack)}.",
                ack,
            )
            return
        ids = _ids(pool, matching, allocation, "Release")

        def some(part: Sequence[str]) -> _Done:
            answer = pool.release_many(part, message=message)
            return _Done(answer.released, list(answer.failures))

        def one(part: Sequence[str]) -> _Done:
            return _released(pool, part[0], message, ack)

        done = (
            _in_parts(ids, _RELEASED_AT_ONCE, some, "released")
            if ack is None
            else _in_parts(ids, 1, one, "released")
        )
    _tell(connection, done, "released", ack)


def _released(pool: "PoolClient", id_: str, message: str, ack: StoreAck | None) -> _Done:
    """Releases one of several at a level, which the call for many has not."""
    from computepool.v1 import allocation_pb2  # noqa: PLC0415 - slow to import

    try:
        pool.release(id_, message=message, ack_level=_level(ack))
    except (errors.NotFoundError, errors.InvalidRequestError) as error:
        code = _NOT_FOUND if isinstance(error, errors.NotFoundError) else _INVALID_ARGUMENT
        told = allocation_pb2.CallError(code=code, reason=error.reason, message=error.message)
        return _Done(0, [allocation_pb2.BatchFailure(id=id_, error=told)])
    return _Done(1, [])


def _level(ack: StoreAck | None) -> "allocation_pb2.AckLevel":
    from computepool_client import to_wire  # noqa: PLC0415 - slow to import

    return to_wire.ack(None if ack is None else ack.value)


def _said(ack: StoreAck | None) -> str:
    return "" if ack is None else f" ({ack.value})"


def _check(matching: Matching, allocation: list[str] | None) -> None:
    if bool(allocation) == bool(matching.filter_by):
        raise typer.BadParameter("give ids or a filter, one of the two", param_hint="ID / --filter")
    if matching.yes and not matching.filter_by:
        raise typer.BadParameter("it needs --filter", param_hint="--yes")


def _ids(
    pool: "PoolClient", matching: Matching, allocation: list[str] | None, what: str
) -> list[str]:
    """The ids that were named, each once; or those that match, when it is confirmed."""
    if allocation:
        return list(dict.fromkeys(allocation))
    matches = pool.allocations(filter_by=matching.filter_by)
    # What has ended for its tenant and is being torn down is listed too.
    found = [each for each in matches if grants.is_live(each)]
    if not matching.yes and found:
        for each in found[:_SHOWN]:
            place = grants.places(each) or "no node"
            asked = grants.asked_for(each.spec)
            screen.remark(f"  {each.id}  {each.tenant}  {asked}  on {place}")
        if len(found) > _SHOWN:
            screen.remark(f"  ... and {len(found) - _SHOWN:,} more")
        many = f"{len(found):,} allocation{'s' * (len(found) != 1)}"
        asking.confirm(
            f"{what} {many}?", "Nothing was done.", f"it concerns {many} that match the filter"
        )
    return [each.id for each in found]


def _in_parts(
    ids: Sequence[str], at_once: int, some: Callable[[Sequence[str]], _Done], word: str
) -> _Done:
    """Does `some` after some; a failure of a whole call says how many were done before."""
    whole = _Done(0, [])
    for part in _parts(ids, at_once):
        try:
            done = some(part)
        except errors.PoolError as error:
            error.message += f" ({whole.count:,} were {word} before)" if whole.count else ""
            raise
        whole.count += done.count
        whole.failures += done.failures
    return whole


def _parts(ids: Sequence[str], at_once: int) -> Iterator[list[str]]:
    rest = iter(ids)
    while part := list(islice(rest, at_once)):
        yield part


def _tell_of_one(
    connection: Connection,
    found: "allocation_pb2.Allocation",
    sentence: str,
    ack: StoreAck | None = None,
) -> None:
    if connection.as_json:
        documents.dump({"allocation": documents.document(found)} | _document(ack))
    else:
        screen.say(sentence)


def _document(ack: StoreAck | None) -> "dict[str, documents.Json]":
    """The level that was asked for, and so holds."""
    return {} if ack is None else {"ack_level": f"ACK_LEVEL_{ack.name}"}


def _tell(connection: Connection, done: _Done, word: str, ack: StoreAck | None = None) -> None:
    """Says what became of all; ends with the status of the first failure."""
    from computepool_client import wire_errors  # noqa: PLC0415 - gRPC is slow to import

    if connection.as_json:
        failures = documents.documents(done.failures)
        told: dict[str, documents.Json] = {word: done.count, "failures": failures}
        documents.dump(told | _document(ack))
    else:
        many = f"{done.count:,} allocation{'s' * (done.count != 1)}"
        if done.count:
            screen.say(f"{word.capitalize()} {many}{_said(ack)}.")
        elif not done.failures:
            screen.say(f"No live allocation matches: nothing was {word}.")
    found = [(each.id, wire_errors.of_call(each.error)) for each in done.failures]
    if not connection.as_json:
        for id_, error in found[:_SHOWN]:
            screen.complain(f"{id_}: {error.message}")
        if len(found) > _SHOWN:
            screen.complain(f"... and {len(found) - _SHOWN:,} more failed (--json names all)")
    if found:
        raise typer.Exit(exits.status_of(found[0][1]))
