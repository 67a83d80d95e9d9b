"""Every domain error has its place in the one table, and its details on the wire."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2, error_details_pb2

from computepool.v1 import allocation_pb2
from computepool_broker import errors
from computepool_broker.errors import InvalidArgumentError, NoRoomError, PoolError, WarmingUpError
from computepool_broker.model.refusal import CenterRefusal, Refusal
from computepool_broker.rpc.errors import CODES, DOMAIN, call_error, status_of

START_ONLY = {"STORE_REFUSED"}
"""Ends the start of a broker: no call can meet it."""


def all_errors() -> list[type[PoolError]]:
    found = []
    todo: list[type[PoolError]] = [PoolError]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind is not PoolError:
            found.append(kind)
    return found


def test_every_error_a_call_can_meet_has_a_code_and_no_code_is_left_over() -> None:
    assert {kind.reason for kind in all_errors()} - START_ONLY == CODES.keys()


def test_reasons_are_unique_and_upper_case() -> None:
    reasons = [vars(kind)["reason"] for kind in all_errors() if "reason" in vars(kind)]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.replace("_", "").isupper() for reason in reasons)


def test_only_unavailable_may_be_retried_blindly() -> None:
    unavailable = {r for r, code in CODES.items() if code == code_pb2.UNAVAILABLE}
    assert unavailable == {"WARMING_UP", "STOPPING", "STORE_FULL"}


def test_a_missed_level_may_be_retried_blindly_and_a_failed_store_keeps_its_code_of_0_1() -> None:
    missed, failed = errors.NotAcknowledgedError("missed"), errors.OutcomeUnknownError("failed")
    assert (missed.reason, status_of(missed).code) == (failed.reason, code_pb2.UNAVAILABLE)
    assert status_of(failed).code == call_error(failed).code == code_pb2.UNKNOWN
    assert call_error(missed).code == code_pb2.UNAVAILABLE


def unpacked(error: PoolError, kind: type) -> list[object]:
    out = []
    for detail in status_of(error).details:
        message = kind()
        if detail.Unpack(message):
            out.append(message)
    return out


def test_every_status_names_reason_and_domain() -> None:
    (info,) = unpacked(errors.NotFoundError("no"), error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("NOT_FOUND", DOMAIN)  # type: ignore[attr-defined]


def test_a_bad_field_is_named() -> None:
    error = InvalidArgumentError("spec.parts", "too many")
    (bad,) = unpacked(error, error_details_pb2.BadRequest)
    assert [v.field for v in bad.field_violations] == ["spec.parts"]  # type: ignore[attr-defined]
    assert status_of(error).code == code_pb2.INVALID_ARGUMENT


def test_a_retry_delay_is_told_where_one_makes_sense() -> None:
    error = WarmingUpError("wait", retry_after_ms=1_500)
    (retry,) = unpacked(error, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1_500  # type: ignore[attr-defined]
    assert unpacked(errors.NotFoundError("no"), error_details_pb2.RetryInfo) == []


@pytest.mark.parametrize("centers", [1, 8, 500])
def test_no_room_carries_the_nearest_centers_within_four_kib(centers: int) -> None:
    rows = tuple(
        CenterRefusal(f"center-{number:060}", "r" * 63, "DEVICES", "devices", 3, 7, 9)
        for number in range(centers)
    )
    error = NoRoomError(Refusal("s" * 300, rows, 7, 2), retry_after_ms=1)
    (told,) = unpacked(error, allocation_pb2.Refusal)
    assert isinstance(told, allocation_pb2.Refusal)
    assert len(told.centers) == min(centers, 8)
    assert told.centers_omitted == max(0, centers - 8)
    assert status_of(error).ByteSize() < 4096
