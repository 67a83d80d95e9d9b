"""What a client asks for, normalised. Pure.

Equal requests are equal values: the digest of a request is taken over these fields, not over
the bytes on the wire, so that another client library's encoding of the same content is the
same content.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import NamedTuple


class ContactPolicy(IntEnum):
    """What an agent does with a lease while the broker is silent; numbers as on the wire."""

    KEEP = 1
    STOP_AFTER = 2


class PartSpec(NamedTuple):
    """What one part needs. At most one of `devices` and `device_milli` is set."""

    cpu_milli: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    extras: tuple[tuple[str, int], ...] = ()
    devices: int = 0
    device_milli: int = 0
    models: tuple[str, ...] = ()
    min_device_memory_mib: int = 0


class Shape(NamedTuple):
    """The part of a request that placement depends on; equal shapes share work."""

    part: PartSpec
    regions: tuple[str, ...] = ()
    centers: tuple[str, ...] = ()
    node_labels: tuple[tuple[str, str], ...] = ()


class Spec(NamedTuple):
    """A whole request, defaults filled in. All tuples are sorted and free of repeats."""

    shape: Shape
    parts: int = 1
    ttl_s: int = 3600
    contact: ContactPolicy = ContactPolicy.KEEP
    contact_after_s: int = 0


def digest_of(spec: Spec, description: str, labels: tuple[tuple[str, str], ...]) -> bytes:
    """Sixteen bytes that two requests share if and only if their content is equal.

    repr() of nested tuples of str and int is unambiguous (strings are quoted), so it serves as
    the canonical form. Changing Spec's fields changes digests: then raise the version here.
    """
    canonical = repr(("v1", tuple(spec), description, labels)).encode()
    return hashlib.blake2b(canonical, digest_size=16).digest()
