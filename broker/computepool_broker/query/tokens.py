"""Page tokens: where a page ended, and to which query it belongs. Pure.

A token names the keys of the last row told, not a number of rows: so whatever comes, goes or
changes in between, a row that keeps its keys is told once.

    version, digest of the query, name, keys     each with its length in one byte before it
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.errors import InvalidArgumentError

if TYPE_CHECKING:
    from computepool_broker.query.order import Raw

VERSION = 1
DIGEST_BYTES = 8
MAX_TOKEN = 1_024
MAX_NAME = 255
_FIELD = "page_token"
_NUMBER, _TEXT = b"n", b"t"


class Position(NamedTuple):
    """Where a page ended: what ordered its last row, and the row's name."""

    raw: tuple[Raw, ...]
    name: str


def query_digest(*query: object) -> bytes:
    """What tells one query from another: texts, numbers, truth values."""
    return hashlib.blake2b(repr(query).encode(), digest_size=DIGEST_BYTES).digest()


def write_token(digest: bytes, position: Position) -> str:
    """The token of a page that ended there."""
    out = [bytes((VERSION,)), digest, _sized(position.name.encode())]
    for key in position.raw:
        is_number = isinstance(key, int)
        out.append(_NUMBER if is_number else _TEXT)
        out.append(_sized(b"%d" % key if isinstance(key, int) else key))
    return base64.urlsafe_b64encode(b"".join(out)).decode().rstrip("=")


def _sized(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def read_token(token: str, digest: bytes) -> Position:
    """Where the page before ended.

    Raises:
        InvalidArgumentError: Names page_token: it is none, or it belongs to another query.
    """
    data = _decoded(token)
    if data[:1] != bytes((VERSION,)) or len(data) <= DIGEST_BYTES:
        raise _none()
    if data[1 : 1 + DIGEST_BYTES] != digest:
        raise InvalidArgumentError(
            _FIELD, "belongs to another query: begin anew, or ask as for the first page"
        )
    name, at = _piece(data, 1 + DIGEST_BYTES)
    keys: list[Raw] = []
    while at < len(data):
        kind = data[at : at + 1]
        key, at = _piece(data, at + 1)
        keys.append(_number(key) if kind == _NUMBER else _text(kind, key))
    try:
        return Position(tuple(keys), name.decode())
    except UnicodeDecodeError:
        raise _none() from None


def _decoded(token: str) -> bytes:
    if len(token) > MAX_TOKEN or not token.isascii():
        raise _none()
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _none() from None


def _piece(data: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(data) or at + 1 + data[at] > len(data):
        raise _none()
    end = at + 1 + data[at]
    return data[at + 1 : end], end


def _number(key: bytes) -> int:
    try:
        return int(key)
    except ValueError:
        raise _none() from None


def _text(kind: bytes, key: bytes) -> bytes:
    if kind != _TEXT:
        raise _none()
    return key


def _none() -> InvalidArgumentError:
    return InvalidArgumentError(_FIELD, "is no token that a page of this broker gave")
