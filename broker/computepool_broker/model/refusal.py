"""Why there is no room: per center the first blocking reason, and what would fit. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from computepool_broker.model.request import Spec


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


class NearestFit(NamedTuple):
    """A request that differs from the refused one in one thing, and would fit.

    Attributes:
        field: Which field of the spec is changed, as on the wire.
        asked: What was asked for, in words.
        fits: What would fit, in words.
        summary: Both in words.
        spec: The whole request that would fit.
        center: Where its first part would go.
    """

    field: str
    asked: str
    fits: str
    summary: str
    spec: Spec
    center: str


class Refusal(NamedTuple):
    """The whole story; true for `revision`.

    Attributes:
        parts_placeable: Parts that could be placed.
        beyond_pool: It would not fit either if the pool were empty: waiting does not help.
        nearest: What would fit instead, that which gives up least first.
    """

    summary: str
    centers: tuple[CenterRefusal, ...]
    revision: int
    parts_placeable: int = 0
    beyond_pool: bool = False
    nearest: tuple[NearestFit, ...] = ()
