"""How large a request of each call may be, checked before it is parsed. Pure.

What a message may have by gRPC's own limit is far more than most calls can mean, and parsing a
map of 300,000 keys, of which 64 are allowed, takes a second in which nobody else is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from computepool_broker.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Of any message, both ways: gRPC itself refuses more, with RESOURCE_EXHAUSTED."""
MAX_REQUEST_BYTES: Final = 256 * 1024
"""A create with every field at its edge has about 200 KiB."""
MAX_LARGE_BYTES: Final = 2 * 1024 * 1024
"""A part of a report, of which agents make parts of 1 MiB; a batch of 1,000 creates."""
_LARGER: Final = {
    "Sync": MAX_LARGE_BYTES,
    "BatchCreateAllocations": MAX_LARGE_BYTES,
    # Up to 10,000 names; lists of names are parsed quickly.
    "BatchRenewAllocations": MAX_MESSAGE_BYTES,
    "BatchReleaseAllocations": MAX_MESSAGE_BYTES,
}
_IN_TURN: Final = {"Sync"}
LARGE_BYTES: Final = 128 * 1024
"""Of a message that waits for its turn: about 150 nodes of eight devices."""
_LOOKED_AT: Final = 500
"""Fields that are looked at to name the one that is too large."""
_VARINT_BYTES: Final = 10
_FIXED64, _LENGTH, _FIXED32 = 1, 2, 5
"""Kinds of fields on the wire: protobuf.dev/programming-guides/encoding."""


def most_bytes(method: str) -> int:
    """Of a request of a method, by its full name."""
    return _LARGER.get(method.rpartition("/")[2], MAX_REQUEST_BYTES)


def waits_for_its_turn(method: str) -> bool:
    """Whether large requests of a method, by its full name, are handled a few at a time.

    Only what waits for nobody but the store may hold others up.
    """
    return method.rpartition("/")[2] in _IN_TURN


def check_size(data: bytes, most: int, kind: Any) -> None:
    """Return only when a message is not too large.

    Args:
        data: Its bytes.
        most: How many there may be.
        kind: Its descriptor, to name what is large in it; None when it is not known.

    Raises:
        InvalidArgumentError: It is, naming the field that has most of the bytes.
    """
    if len(data) > most:
        field = ".".join(_largest(data, kind)) or "request"
        raise InvalidArgumentError(
            field, f"the request has {len(data):,} bytes, at most {most:,} are taken"
        )


def _largest(data: bytes, kind: Any) -> Iterator[str]:
    """The field with most bytes, and what is largest within it."""
    while kind is not None:
        sizes: dict[int, int] = {}
        inner = b""
        for number, value in _fields(data):
            sizes[number] = sizes.get(number, 0) + len(value)
            if len(value) > len(inner):
                inner = value
        number = max(sizes, key=lambda n: sizes[n], default=0)
        field = kind.fields_by_number.get(number)
        if field is None:
            return
        yield field.name
        data, kind = inner, None if field.is_repeated else field.message_type


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The first fields of a message that have a length: numbers and bytes."""
    at = 0
    for _ in range(_LOOKED_AT):
        tag, at = _varint(data, at)
        if not tag:
            return
        wire_type = tag & 7
        size = {_FIXED64: 8, _FIXED32: 4}.get(wire_type, 0)
        if wire_type == _LENGTH:
            size, at = _varint(data, at)
            yield tag >> 3, data[at : at + size]
        elif not size:
            _, at = _varint(data, at)
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and the place after it; 0 at the end, and for what is none."""
    value = 0
    for shift, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 127) << (7 * shift)
        if byte < 128:  # noqa: PLR2004 - the last byte of a number
            return value, at + shift + 1
    return 0, len(data)
