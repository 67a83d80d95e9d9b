"""How large a request of each call may be, checked before it is parsed. Pure.

What a message may have by gRPC's own limit is far more than most calls can mean, and parsing a
map of 300,000 keys, of which 64 are allowed, takes a second in which nobody else is served.
"""

from __future__ import annotations

from typing import Final

from computepool_broker.errors import InvalidArgumentError

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


def most_bytes(method: str) -> int:
    """Of a request of a method, by its full name."""
    return _LARGER.get(method.rpartition("/")[2], MAX_REQUEST_BYTES)


def check_size(field: str, data: bytes, most: int) -> None:
    """Return only when the message is not too large.

    Raises:
        InvalidArgumentError: It is.
    """
    if len(data) > most:
        raise InvalidArgumentError(field, f"has {len(data):,} bytes, at most {most:,} are taken")
