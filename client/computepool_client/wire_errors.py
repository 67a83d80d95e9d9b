"""What a failed call says, as the typed errors of `errors`.

Shared by whoever speaks gRPC for the client; imports gRPC's status codes, and
what reads rich details only when something has failed.
"""

from collections.abc import Callable, Mapping
from typing import Final

import grpc
import grpc.aio

from computepool.v1 import allocation_pb2
from computepool_client import errors, wording

_NOT_SENT: Final = "failed to connect to all addresses"
_KINDS: Final[dict[grpc.StatusCode, Callable[..., errors.PoolError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.WrongStateError,
    grpc.StatusCode.ABORTED: errors.WrongStateError,
    grpc.StatusCode.ALREADY_EXISTS: errors.WrongStateError,
    grpc.StatusCode.UNAVAILABLE: errors.NotReadyError,
}
_BY_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}


def of_rpc(error: grpc.RpcError, endpoint: str, timeout_s: float | None) -> errors.PoolError:
    """The typed error of a failed call: by status code and the details' ErrorInfo."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return errors.PoolError(f"the call failed: {error}")
    code, text = error.code(), error.details() or "no more is known"
    found = _Details(error)
    if not found.reason:
        return _without_reason(code, text, endpoint, timeout_s)
    common = (text, found.reason, found.metadata, found.retry_after_s)
    return _typed(code, common, found.fields, found.refusal)


def in_keywords(error: grpc.RpcError, endpoint: str, timeout_s: float | None) -> errors.PoolError:
    """Like `of_rpc`; fields are named as the SDK's caller wrote them."""
    return wording.reworded(of_rpc(error, endpoint, timeout_s), wording.keyword)


def of_call(error: allocation_pb2.CallError) -> errors.PoolError:
    """The typed error of one call among several, which has no status of its own."""
    code = _BY_NUMBER.get(error.code, grpc.StatusCode.UNKNOWN)
    retry_after_s = error.retry_after_ms / 1000 if error.retry_after_ms else None
    common = (error.message, error.reason, dict(error.metadata), retry_after_s)
    fields = (errors.FieldViolation(error.field, error.message),) if error.field else ()
    return _typed(code, common, fields, error.refusal if error.HasField("refusal") else None)


def _typed(
    code: grpc.StatusCode,
    common: tuple[str, str, Mapping[str, str], float | None],
    fields: tuple[errors.FieldViolation, ...],
    refusal: allocation_pb2.Refusal | None,
) -> errors.PoolError:
    reason = common[1]
    if reason == "NO_ROOM":
        return errors.NoRoomError(*common, wire_refusal=refusal)
    if reason == "OUTCOME_UNKNOWN" and code is grpc.StatusCode.UNAVAILABLE:
        return errors.NotAcknowledgedError(*common)
    if reason == "OUTCOME_UNKNOWN":
        return errors.OutcomeUnknownError(*common)
    if reason == "ACK_LEVEL_UNAVAILABLE":
        return errors.AckLevelUnavailableError(*common)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return errors.InvalidRequestError(*common, fields=fields)
    return _KINDS.get(code, errors.PoolError)(*common)


def _without_reason(
    code: grpc.StatusCode, text: str, endpoint: str, timeout_s: float | None
) -> errors.PoolError:
    """What gRPC itself says, or a server that is no broker of ours."""
    if code is grpc.StatusCode.UNAVAILABLE and text.startswith(_NOT_SENT):
        return errors.UnreachableError(f"no broker answers at {endpoint}", "UNREACHABLE")
    # A call that meets the moment in which a broker stops is cancelled by its gRPC.
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return errors.NoAnswerError(f"the connection to {endpoint} broke", "CONNECTION_BROKE")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        within = "in time" if timeout_s is None else f"within {timeout_s:g} s"
        return errors.NoAnswerError(f"no answer from {endpoint} {within}", "DEADLINE_EXCEEDED")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return errors.PoolError(f"what answers at {endpoint} does not know this call", code.name)
    return _KINDS.get(code, errors.PoolError)(f"{text} ({code.name})", code.name)


class _Details:
    """What a failed call carries in its rich status; empty when it has none."""

    def __init__(self, call: grpc.Call | grpc.aio.AioRpcError) -> None:
        # Needed only when something failed, and slow to import.
        from google.rpc import (  # noqa: PLC0415 - see above
            error_details_pb2,
        )
        from grpc_status import rpc_status  # noqa: PLC0415 - see above

        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.retry_after_s: float | None = None
        self.refusal: allocation_pb2.Refusal | None = None
        self.fields: tuple[errors.FieldViolation, ...] = ()
        try:
            status = rpc_status.from_call(call)
        except ValueError:  # details that contradict the status: as good as none
            status = None
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad = error_details_pb2.BadRequest()
        refusal = allocation_pb2.Refusal()
        for packed in status.details if status is not None else ():
            if packed.Unpack(info):
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif packed.Unpack(retry):
                self.retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            elif packed.Unpack(bad):
                self.fields = tuple(
                    errors.FieldViolation(v.field, v.description) for v in bad.field_violations
                )
            elif packed.Unpack(refusal):
                self.refusal = refusal
