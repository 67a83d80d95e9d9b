"""Do all endpoints lead to brokers of one pool, and do these keep up with each other?

Opens sockets and calls brokers through the client; `judge` is pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from computepool_client import errors
from computepool_client.cli import units
from computepool_client.cli.doctor.findings import Finding, Verdict, counted, fail, named, ok, warn
from computepool_client.cli.doctor.reach import ask, reach
from computepool_client.cli.doctor.seen import Look, Seen

if TYPE_CHECKING:
    from computepool.v1 import types_pb2

_SILENT_MS: Final = 5_000
"""A broker gives a sign of life every second."""


def way(endpoints: Sequence[str], timeout_s: float, seen: Seen) -> list[Finding]:
    """The way to each endpoint; notes in `seen` what the first that can be reached says."""
    found = {each: list(reach(each, timeout_s)) for each in endpoints}
    open_ = [each for each in endpoints if _all_ok(found[each])]
    if open_:
        # gRPC is slow to import, and of no use where nobody listens.
        from computepool_client.client import PoolClient  # noqa: PLC0415 - see above

        with PoolClient(open_[0], timeout_s=timeout_s) as pool:
            found[open_[0]] += ask(pool, seen)
        if seen.view is not None and len(endpoints) > 1:
            # The first once more at the end: what it knew before, the others know by then.
            for each in (*open_, open_[0]):
                found[each] += _look(each, timeout_s, seen)
    served = any(_all_ok(each) for each in found.values())
    return [
        # With another broker there it works, but somebody should look at it.
        replace(one, verdict=Verdict.WARN) if served and one.verdict is Verdict.FAIL else one
        for each in found.values()
        for one in each
    ]


def _all_ok(found: list[Finding]) -> bool:
    return all(each.verdict is not Verdict.FAIL for each in found)


def _look(endpoint: str, timeout_s: float, seen: Seen) -> Iterator[Finding]:
    from computepool_client.client import PoolClient  # noqa: PLC0415 - see above

    try:
        with PoolClient(endpoint, timeout_s=timeout_s) as pool:
            seen.looks.append(Look(endpoint, pool.brokers()))
    except errors.PoolError as error:
        if error.reason == "UNIMPLEMENTED":
            todo = "upgrade it, or name one broker only"
            yield warn("broker", f"{endpoint} is no broker that knows of others", todo)
        else:
            yield fail("broker", error.message, f"look at the log of the broker at {endpoint}")


def judge(seen: Seen) -> list[Finding]:
    """What the brokers say of each other; nothing where only one was asked."""
    if not seen.looks:
        return []
    return [_alive(seen.looks[0]), _chores(seen.looks[0]), _apart(seen.looks)]


def _alive(look: Look) -> Finding:
    brokers = look.answer.brokers
    silent = [each for each in brokers if each.beat_age_ms > _SILENT_MS]
    if not silent:
        return ok("brokers", f"{counted(len(brokers), 'broker')} of this pool live")
    told = [f"{each.name} at {each.address} ({units.age(each.beat_age_ms)})" for each in silent]
    todo = "look at its log, its load, and its way to the store"
    return warn("brokers", f"{counted(len(silent), 'broker')} silent: {named(told)}", todo)


def _chores(look: Look) -> Finding:
    elected = [each.name for each in look.answer.brokers if each.chores]
    if len(elected) == 1:
        return ok("chores", f"{elected[0]} does the chores")
    if not elected:
        todo = "wait some seconds; if it stays so, look at the brokers' logs: leases do not expire"
        return warn("chores", "no broker does the chores", todo)
    todo = "wait some seconds: one of them has lost the election and will see it; it does no harm"
    return warn("chores", f"{len(elected)} brokers do the chores: {named(elected)}", todo)


def _apart(looks: Sequence[Look]) -> Finding:
    """How far apart their views are; what one knew before another was asked, that one lacks."""
    first, marks = looks[0], [(each.endpoint, each.answer.mark) for each in looks]
    others = [each for each, mark in marks if mark.identity != first.answer.mark.identity]
    if others:
        todo = "name the brokers of one pool only: what one grants the other does not know"
        text = f"{first.endpoint} and {named(others)} have different stores"
        return fail("apart", text, todo)
    if len({mark.epoch for _, mark in marks}) > 1:
        todo = "run it again; if it stays so, start those with the lower epoch anew"
        epochs = ", ".join(f"{each}: {mark.epoch}" for each, mark in marks[:-1])
        return warn("apart", f"the brokers are not of one epoch ({epochs})", todo)
    behind = _behind(marks)
    text = f"revisions {', '.join(f'{mark.revision:,}' for _, mark in marks[:-1])}"
    if not behind:
        return ok("apart", f"the brokers' views are together ({text})")
    told = [f"{each} by {counted(count, 'commit')}" for each, count in behind.items()]
    todo = "a moment is usual under load; if it stays so, look at its log and its way to the store"
    return warn("apart", f"behind the others: {named(told)} ({text})", todo)


def _behind(marks: "Sequence[tuple[str, types_pb2.StoreMark]]") -> dict[str, int]:
    """By how many commits each endpoint is behind what others had told before it was asked."""
    behind: dict[str, int] = {}
    newest = 0
    for endpoint, mark in marks:
        if mark.revision < newest:
            behind[endpoint] = newest - mark.revision
        newest = max(newest, mark.revision)
    return behind
