"""Records as JSON text, for stores. Pure.

One version number per record; a field is added at the end with a default, never changed in its
meaning. Text rather than a binary form: an operator can read the store with its own tools.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from computepool_broker.model.alike import Alike
from computepool_broker.model.amounts import DEVICE_PREFIX, Resources
from computepool_broker.model.memo import Memo
from computepool_broker.model.records import (
    AgentRecord,
    Allocation,
    AllocationState,
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

if TYPE_CHECKING:
    from computepool_broker.model.amounts import Amounts

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_quoted = json.encoder.encode_basestring

Pairs = tuple[tuple[str, Any], ...]


def _pairs(rows: list[list[Any]]) -> Pairs:
    return tuple([(key, value) for key, value in rows])


def _row(kind: str, text: str) -> list[Any]:
    row: list[Any] = json.loads(text)
    _check(kind, row)
    return row


def _check(kind: str, row: Any) -> None:
    if not isinstance(row, list) or row[0] != 1:
        raise ValueError(f"no {kind} record of version 1: {str(row)[:80]}")


class Encoder:
    """Encodes allocations; remembers the text of specs, since most requests repeat."""

    def __init__(self) -> None:
        self._spec: Memo[Spec, str] = Memo(_encode, len)

    def allocation(self, a: Allocation) -> str:
        """An allocation as one JSON array, version first.

        Put together by hand: every commit does it, and json's own walk takes half as long again.
        """
        parts = ",".join([_part_text(p) for p in a.parts])
        labels = _encode(a.labels) if a.labels else "[]"
        flags = _encode(a.flags) if a.flags else "[]"
        return (
            f"[1,{_quoted(a.id)},{_quoted(a.tenant)},{_quoted(a.request_id)},"
            f'"{a.digest.hex()}",{self._spec(a.spec)},[{parts}],{a.created_ms},'
            f"{_quoted(a.description)},{labels},{+a.state},{+a.end_reason},"
            f"{_quoted(a.end_message)},{a.refusals},{'true' if a.adopted else 'false'},"
            f"{flags},{a.revision}]"
        )


def _part_text(p: Part) -> str:
    amounts = ",".join([f"[{_quoted(key)},{amount}]" for key, amount in p.amounts])
    return (
        f"[{p.index},{p.place_revision},{_quoted(p.node)},{_quoted(p.model)},[{amounts}],"
        f"{+p.state},{p.revision}]"
    )


class Decoder:
    """Decodes records; what is alike in many of them becomes one value that they share."""

    def __init__(self) -> None:
        self._alike = Alike()
        self._specs: dict[str, Spec] = {}

    def allocation(self, text: str) -> Allocation:
        """The other way round.

        Raises:
            ValueError: The text is not such a record.
        """
        row = _row("allocation", text)
        word = self._alike.word
        parts = tuple(
            [
                Part(i, place, node, word(model), self._amounts(rows), PartState(state), revision)
                for i, place, node, model, rows, state, revision in row[6]
            ]
        )
        return Allocation(
            row[1],
            word(row[2]),
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
            row[16],
        )

    def node(self, text: str) -> NodeRecord:
        """The other way round.

        Raises:
            ValueError: The text is not such a record.
        """
        return self.node_of(json.loads(text))

    def node_of(self, row: list[Any]) -> NodeRecord:
        """The same from the parsed array.

        Raises:
            ValueError: It is not such a record.
        """
        alike = self._alike
        _check("node", row)
        _, name, center, region, agent, total, reserved, foreign, devices, labels, off, gone = row
        return NodeRecord(
            name,
            alike.word(center),
            alike.word(region),
            alike.word(agent),
            alike.resources(_resources(total)),
            alike.resources(_resources(reserved)),
            _resources(foreign),
            alike.devices(devices),
            alike.labels(_pairs(labels)),
            off,
            gone,
        )

    def _amounts(self, rows: list[list[Any]]) -> Amounts:
        pair = self._alike.pair
        return tuple(
            [
                (key, amount) if key.startswith(DEVICE_PREFIX) else pair((key, amount))
                for key, amount in rows
            ]
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
    return _encode([1, *node[:7], [*node.devices], *node[8:]])


def decode_node(text: str) -> NodeRecord:
    """The other way round, for a single one.

    Raises:
        ValueError: The text is not such a record.
    """
    return Decoder().node(text)


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
