"""Why there is no room: per center the first blocking reason and the missing amount. Pure."""

from __future__ import annotations

from typing import NamedTuple


class CenterRefusal(NamedTuple):
    """One center's first blocking reason.

    Attributes:
        reason: Name of the filter that left no node.
        resource: What is short; empty when no amount is missing.
        missing: How much, in the resource's unit.
        nodes: Nodes that passed all earlier filters.
        age_ms: Age of the oldest number it rests on; -1 when there is none since the start.
    """

    center: str
    region: str
    reason: str
    resource: str = ""
    missing: int = 0
    nodes: int = 0
    age_ms: int = -1


class Refusal(NamedTuple):
    """The whole story; true for `revision`."""

    summary: str
    centers: tuple[CenterRefusal, ...]
    revision: int
    parts_placeable: int = 0
