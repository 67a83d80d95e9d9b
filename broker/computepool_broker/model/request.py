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


class SpreadOver(IntEnum):
    """What a domain is; numbers as on the wire."""

    NODES = 1
    CENTERS = 2
    REGIONS = 3


class Spread(NamedTuple):
    """How evenly parts lie: the fullest domain has at most `max_skew` parts more than the emptiest.

    A domain counts when it has a node that regions, centers, labels and models allow, whether
    there is room on it or not.
    """

    over: SpreadOver
    max_skew: int = 1


class Power(NamedTuple):
    """Computing power instead of a number of devices: whole devices, together at least this much.

    Attributes:
        gflops: Least peak of all devices together, in 10^9 operations a second.
        precision: As in model/accelerators.py.
        mixed: Devices of several models may be put together.
    """

    gflops: int
    precision: str = "fp16"
    mixed: bool = False


class Spec(NamedTuple):
    """A whole request, defaults filled in. All tuples are sorted and free of repeats.

    Attributes:
        parts: Number of parts; with `power` 1 in a request, and in an allocation the number that
            was granted.
        power: With it `shape.part` says what goes with each device, and has no devices itself.
    """

    shape: Shape
    parts: int = 1
    ttl_s: int = 3600
    contact: ContactPolicy = ContactPolicy.KEEP
    contact_after_s: int = 0
    spread: Spread | None = None
    power: Power | None = None


def digest_of(spec: Spec, description: str, labels: tuple[tuple[str, str], ...]) -> bytes:
    """Sixteen bytes that two requests share if and only if their content is equal.

    repr() of nested tuples of str and int is unambiguous (strings are quoted), so it serves as
    the canonical form. A retry can come after an upgrade, so what a request of an older version
    says must keep its digest: a field that came later is left out where it is absent.
    """
    content: tuple[object, ...] = (tuple(spec[:5]), description, labels)
    if spec.spread is not None or spec.power is not None:
        content += (spec.spread and tuple(spec.spread), spec.power and tuple(spec.power))
    canonical = repr(("v1", *content)).encode()
    return hashlib.blake2b(canonical, digest_size=16).digest()
