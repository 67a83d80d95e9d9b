"""Records as JSON text, for stores. Pure.

One version number per record; a field is added at the end with a default, never changed in its
meaning. Text rather than a binary form: an operator can read the store with its own tools.
"""

from __future__ import annotations

import json
from typing import Any

from computepool_broker.model.amounts import Resources
from computepool_broker.model.memo import Memo
from computepool_broker.model.records import (
    AgentRecord,
    Allocation,
    AllocationState,
    Device,
    EndReason,
    NodeRecord,
    Part,
    PartState,
)
from computepool_broker.model.request import (
    ContactPolicy,
    PartSpec,
    Power,
    Shape,
    Spec,
    Spread,
    SpreadOver,
)

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_quoted = json.encoder.encode_basestring

ABSOLUTE = 1 << 62
"""A base that no revision is above."""

Pairs = tuple[tuple[str, Any], ...]


def _pairs(rows: list[list[Any]]) -> Pairs:
    return tuple([(row[0], row[1]) for row in rows])


def _row(kind: str, text: str) -> list[Any]:
    row = json.loads(text)
    if not isinstance(row, list) or row[0] != 1:
        raise ValueError(f"no {kind} record of version 1: {text[:80]}")
    return row


class Encoder:
    """Encodes allocations; remembers the text of specs, since most requests repeat."""

    def __init__(self) -> None:
        self._spec: Memo[Spec, str] = Memo(_encode, len)

    def allocation(self, a: Allocation, base: int = ABSOLUTE) -> str:
        """An allocation as one JSON array, version first.

        Put together by hand: every commit does it, and json's own walk takes half as long again.

        Args:
            a: The allocation.
            base: Revisions above it are written as counted from it, below 0: a planner that
                shares its store with others does not know yet what they will be.
        """
        parts = ",".join([_part_text(p, base) for p in a.parts])
        revision = a.revision if a.revision <= base else base - a.revision
        labels = _encode(a.labels) if a.labels else "[]"
        flags = _encode(a.flags) if a.flags else "[]"
        return (
            f"[1,{_quoted(a.id)},{_quoted(a.tenant)},{_quoted(a.request_id)},"
            f'"{a.digest.hex()}",{self._spec(a.spec)},[{parts}],{a.created_ms},'
            f"{_quoted(a.description)},{labels},{+a.state},{+a.end_reason},"
            f"{_quoted(a.end_message)},{a.refusals},{'true' if a.adopted else 'false'},"
            f"{flags},{revision}]"
        )


def _part_text(p: Part, base: int) -> str:
    amounts = ",".join([f"[{_quoted(key)},{amount}]" for key, amount in p.amounts])
    revision = p.revision if p.revision <= base else base - p.revision
    return (
        f"[{p.index},{p.place_revision},{_quoted(p.node)},{_quoted(p.model)},[{amounts}],"
        f"{+p.state},{revision}]"
    )


class Decoder:
    """Decodes records; equal specs become one value, so that many leases share them."""

    def __init__(self) -> None:
        self._specs: dict[str, Spec] = {}

    def allocation(self, text: str, base: int = 0) -> Allocation:
        """The other way round; revisions below 0 count from `base`.

        Raises:
            ValueError: The text is not such a record.
        """
        row = _row("allocation", text)
        parts = tuple(
            [
                Part(
                    i,
                    place,
                    node,
                    model,
                    _pairs(amounts),
                    PartState(state),
                    revision if revision >= 0 else base - revision,
                )
                for i, place, node, model, amounts, state, revision in row[6]
            ]
        )
        return Allocation(
            row[1],
            row[2],
            row[3],
            bytes.fromhex(row[4]),
            self._spec(row[5]),
            parts,
            row[7],
            row[8],
            _pairs(row[9]),
            AllocationState(row[10]),
            EndReason(row[11]),
            row[12],
            row[13],
            row[14],
            tuple(row[15]),
            row[16] if row[16] >= 0 else base - row[16],
        )

    def _spec(self, row: list[Any]) -> Spec:
        text = repr(row)
        spec = self._specs.get(text)
        if spec is None:
            spec = self._specs[text] = decode_spec(row)
        return spec


def decode_spec(row: list[Any]) -> Spec:
    """A spec from its JSON form."""
    (part, regions, centers, labels), count, ttl_s, contact, after_s, *later = row
    spread, power = later or (None, None)
    cpu, memory, disk, extras, devices, milli, models, least = part
    return Spec(
        Shape(
            PartSpec(cpu, memory, disk, _pairs(extras), devices, milli, tuple(models), least),
            tuple(regions),
            tuple(centers),
            _pairs(labels),
        ),
        count,
        ttl_s,
        ContactPolicy(contact),
        after_s,
        Spread(SpreadOver(spread[0]), spread[1]) if spread else None,
        Power(*power) if power else None,
    )


def encode_node(node: NodeRecord) -> str:
    """A node as one JSON array, version first."""
    return _encode([1, *node])


def decode_node(text: str) -> NodeRecord:
    """The other way round.

    Raises:
        ValueError: The text is not such a record.
    """
    row = _row("node", text)
    _, name, center, region, agent, total, reserved, foreign, devices, labels, off, gone = row
    return NodeRecord(
        name,
        center,
        region,
        agent,
        _resources(total),
        _resources(reserved),
        _resources(foreign),
        tuple(Device(*d) for d in devices),
        _pairs(labels),
        off,
        gone,
    )


def _resources(row: list[Any]) -> Resources:
    return Resources(row[0], row[1], row[2], _pairs(row[3]))


def encode_agent(agent: AgentRecord) -> str:
    """An agent as one JSON array, version first."""
    return _encode([1, *agent])


def decode_agent(text: str) -> AgentRecord:
    """The other way round.

    Raises:
        ValueError: The text is not such a record.
    """
    row = _row("agent", text)
    return AgentRecord(*row[1:])
