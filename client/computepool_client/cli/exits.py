"""Exit statuses, and how an error is told to a person or to a program."""

import sys
from enum import IntEnum
from typing import TYPE_CHECKING

from computepool_client import errors, wording
from computepool_client.cli import documents, screen, settings

if TYPE_CHECKING:
    from computepool_client.cli.documents import Json


class Exit(IntEnum):
    """What the status of the command says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_ROOM = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    WRONG_STATE = 6
    INTERRUPTED = 130


_STATUSES: tuple[tuple[type[errors.PoolError], Exit], ...] = (
    (errors.InvalidRequestError, Exit.USAGE),
    (settings.BadConfigError, Exit.USAGE),
    (errors.NoRoomError, Exit.NO_ROOM),
    (errors.NotFoundError, Exit.NOT_FOUND),
    (errors.UnreachableError, Exit.UNREACHABLE),
    (errors.NotReadyError, Exit.UNREACHABLE),
    (errors.NoAnswerError, Exit.UNREACHABLE),
    (errors.WrongStateError, Exit.WRONG_STATE),
)


def status_of(error: errors.PoolError) -> Exit:
    """The exit status that an error leads to."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    return Exit.FAILED


def tell(error: errors.PoolError, *, as_json: bool) -> Exit:
    """Prints an error on stderr, as JSON or in words; returns the exit status."""
    status = status_of(error)
    if as_json:
        documents.dump({"error": _document(error, status)}, sys.stderr)
    else:
        _tell_in_words(error)
    return status


def tell_plainly(message: str, status: Exit, *, as_json: bool, reason: str) -> Exit:
    """Like `tell`, for what is no failed call."""
    if as_json:
        error: dict[str, Json] = {"reason": reason, "message": message, "exit_status": int(status)}
        documents.dump({"error": error}, sys.stderr)
    elif status == Exit.INTERRUPTED:
        screen.remark(message)
    else:
        screen.complain(message)
    return status


def _document(error: errors.PoolError, status: Exit) -> "dict[str, Json]":
    found: dict[str, Json] = {
        "reason": error.reason,
        "message": error.message,
        "exit_status": int(status),
        "metadata": dict(error.metadata),
        "retry_after_s": error.retry_after_s,
    }
    if isinstance(error, errors.InvalidRequestError):
        found["fields"] = [{"field": v.field, "description": v.description} for v in error.fields]
    if isinstance(error, errors.NoRoomError) and error.wire_refusal is not None:
        found["refusal"] = documents.document(error.wire_refusal)
    return found


def _tell_in_words(error: errors.PoolError) -> None:
    wording.reworded(error, wording.flag)
    if isinstance(error, errors.NoRoomError) and error.wire_refusal is not None:
        from computepool_client.cli import refusals  # noqa: PLC0415 - tables are slow to import

        refusals.show(error.wire_refusal, screen.stderr())
    else:
        screen.complain(error.message)
    if isinstance(error, errors.InvalidRequestError):
        for violation in error.fields:
            if violation.description not in error.message:
                screen.remark(f"{violation.field}: {violation.description}")
    hint = _hint(error)
    if hint:
        screen.remark(hint)


def _hint(error: errors.PoolError) -> str:
    """What to do about it, where there is something to say."""
    if isinstance(error, errors.UnreachableError):
        return (
            "Start one with `computepool up`, name another with --endpoint,"
            " or ask `computepool doctor`."
        )
    if (
        isinstance(error, errors.NoRoomError)
        and error.wire_refusal
        and error.wire_refusal.beyond_pool
    ):
        return ""
    if error.retry_after_s is not None:
        return f"The broker suggests to try again in {error.retry_after_s:.3g} s."
    return ""
