"""Is there a broker at the endpoint, and one that this command can speak with?

Opens sockets and calls the broker; gRPC itself is the client's affair.
"""

import socket
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from computepool_client import errors
from computepool_client.cli.doctor.findings import Finding, counted, fail, named, ok, warn
from computepool_client.cli.doctor.seen import MOST_ALLOCATIONS, Seen

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from computepool_client.client import PoolClient

_OTHERS: Final = "is it the address of another server? Check --endpoint and COMPUTEPOOL_ENDPOINT"


def split(endpoint: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, without the brackets of an IPv6 address."""
    host, _, port = endpoint.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def reach(endpoint: str, timeout_s: float) -> Iterator[Finding]:
    """Resolves the name and connects, without speaking; ends at the first failure."""
    host, port = split(endpoint)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        todo = "correct the name in --endpoint, or look at this machine's DNS"
        yield fail("resolve", f"{host} has no address: {_reason(error)}", todo)
        return
    addresses = sorted({str(each[4][0]) for each in found})
    yield ok("resolve", f"{host} is {named(addresses)}")
    began_s = time.monotonic()
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError as error:
        yield fail("connect", f"{endpoint} cannot be connected to: {_reason(error)}", _todo(host))
        return
    yield ok("connect", f"{endpoint} connects in {1000 * (time.monotonic() - began_s):.1f} ms")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _todo(host: str) -> str:
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return "start a pool here with `computepool up`, or name another broker with --endpoint"
    return "is the broker running and listening on this address, and does a firewall stand between?"


def ask(pool: "PoolClient", seen: Seen) -> Iterator[Finding]:
    """Speaks with the broker and notes in `seen` what it says."""
    began_s = time.monotonic()
    try:
        seen.view = pool.view()
    except errors.PoolError as error:
        yield _no_broker(pool.endpoint, error)
        return
    took_ms = 1000 * (time.monotonic() - began_s)
    yield ok("broker", f"a broker answers in {took_ms:.0f} ms")
    try:
        seen.agents = pool.agents()
        found = list(islice(pool.allocations(), MOST_ALLOCATIONS + 1))
        seen.allocations = found[:MOST_ALLOCATIONS]
        seen.more_allocations = len(found) > MOST_ALLOCATIONS
        if seen.view.audit_findings > 0:
            seen.audit = pool.audit()
        yield _versions(seen, knows_centers=_knows_centers(pool))
        seen.health = _health(pool)
    except errors.PoolError as error:
        todo = "run it again; if it stays so, look at the broker's log"
        yield fail("calls", f"a call failed: {error.message}", todo)


def _no_broker(endpoint: str, error: errors.PoolError) -> Finding:
    if error.reason == "UNIMPLEMENTED":
        return fail("broker", f"{endpoint} speaks gRPC but is no computepool broker", _OTHERS)
    if isinstance(error, errors.UnreachableError):
        return fail("broker", f"{endpoint} connects but does not speak gRPC", _OTHERS)
    if isinstance(error, errors.NoAnswerError):
        todo = "look at the broker's log and load; a longer --timeout tells slow from stuck"
        return fail("broker", error.message, todo)
    if isinstance(error, errors.NotReadyError):
        return fail("broker", f"the broker cannot serve now: {error.message}", "try again shortly")
    return fail("broker", f"the broker refuses: {error.message}", "look at the broker's log")


def _knows_centers(pool: "PoolClient") -> bool:
    try:
        next(pool.centers(page_size=1), None)
    except errors.PoolError as error:
        if error.reason == "UNIMPLEMENTED":
            return False
        raise
    return True


def _health(pool: "PoolClient") -> str:
    try:
        return pool.health()
    except errors.PoolError as error:
        if error.reason == "UNIMPLEMENTED":
            return ""
        raise


def _versions(seen: Seen, *, knows_centers: bool) -> Finding:
    """Whether broker, agents and command are of one age, as far as answers show it."""
    from importlib.metadata import version  # noqa: PLC0415 - slow to import

    mine = version("computepool")
    agents = sorted({each.version for each in seen.agents if each.version})
    told = f"this command is {mine}, agents are {named(agents)}" if agents else f"this is {mine}"
    if not knows_centers:
        todo = "upgrade the broker; until then what is new here is refused or done the old way"
        return warn("versions", f"the broker is older than this command ({mine})", todo)
    if seen.view is not None and _has_unknown(seen.view):
        todo = "upgrade this command: answers hold what it does not know and does not show"
        return warn("versions", f"the broker is newer than this command ({mine})", todo)
    others = [each for each in agents if each != mine]
    if others:
        count = sum(each.version in others for each in seen.agents)
        todo = "upgrade them one by one: brokers and agents one release apart work together"
        return warn("versions", f"{counted(count, 'agent')} not of {mine}: {named(others)}", todo)
    return ok("versions", told)


def _has_unknown(message: "Message") -> bool:
    """Whether an answer, or a message in it, has fields that are not in this command's contract."""
    from google.protobuf.unknown_fields import UnknownFieldSet  # noqa: PLC0415 - only here

    if len(UnknownFieldSet(message)):
        return True
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        if any(_has_unknown(each) for each in (value if descriptor.is_repeated else [value])):
            return True
    return False
