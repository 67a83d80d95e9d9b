"""Where a watch of allocations goes on: opaque text for clients, a few numbers for us. Pure.

Survives restarts of the broker, so it names the store and what was seen of it. `life` is the life
of the broker that made it: what this very process has told needs no further proof.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import NamedTuple

from computepool_broker.errors import InvalidArgumentError

VERSION = 1
MAX_TOKEN = 256
HASH_BYTES = 8
LIFE_BYTES = 8
_LAYOUT = struct.Struct(f">B{LIFE_BYTES}s{HASH_BYTES}sQQQ")
_CHECKSUM = struct.Struct(">I")
FIELD = "resume_token"


class WatchToken(NamedTuple):
    """What was seen.

    Attributes:
        life: Of the broker that made it.
        query: What was watched, see `query_hash`.
        epoch: The store's when it was made.
        revision: All changes up to here were told.
        seen: The highest revision of anything told: in the midst of a backlog it is above that.
        identity: The store's name.
    """

    life: bytes
    query: bytes
    epoch: int
    revision: int
    seen: int
    identity: str


def query_hash(filter_text: str) -> bytes:
    """Tells one filter from another."""
    return hashlib.sha256(filter_text.encode()).digest()[:HASH_BYTES]


def write(token: WatchToken) -> str:
    """As text."""
    body = _LAYOUT.pack(VERSION, *token[:5]) + token.identity.encode()
    whole = body + _CHECKSUM.pack(binascii.crc32(body))
    return base64.urlsafe_b64encode(whole).decode().rstrip("=")


def read(text: str, query: bytes) -> WatchToken:
    """From text.

    Raises:
        InvalidArgumentError: It is no token of ours, or one of another filter.
    """
    if len(text) > MAX_TOKEN:
        raise InvalidArgumentError(FIELD, f"longer than {MAX_TOKEN} characters")
    token = _read(text)
    if token is None:
        raise InvalidArgumentError(FIELD, "is no token of a watch of allocations")
    if token.query != query:
        raise InvalidArgumentError(FIELD, "belongs to a watch with another filter")
    return token


def _read(text: str) -> WatchToken | None:
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        body = whole[: -_CHECKSUM.size]
        (checksum,) = _CHECKSUM.unpack(whole[-_CHECKSUM.size :])
        version, life, query, epoch, revision, seen = _LAYOUT.unpack_from(body)
        if version != VERSION or binascii.crc32(body) != checksum or revision > seen:
            return None
        return WatchToken(life, query, epoch, revision, seen, body[_LAYOUT.size :].decode())
    except (ValueError, struct.error):
        return None
