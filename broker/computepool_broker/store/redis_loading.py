"""The tables from what Redis holds, checked against each other. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from computepool_broker.ledger.state import LedgerState
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model import codec
from computepool_broker.store import redis_keys as keys
from computepool_broker.store.loading import Tables, fill

if TYPE_CHECKING:
    from collections.abc import Mapping

    from computepool_broker.model.records import Allocation
    from computepool_broker.store.redis_client import RawTables

META_FIELDS = ("identity", "epoch", "epochs", "revision", "instance", "serial")


class Kept(NamedTuple):
    """What Redis holds.

    Attributes:
        tables: The records.
        blockers: By node.
    """

    tables: Tables
    blockers: dict[str, int]


def parse(raw: RawTables, new_identity: str) -> Kept:
    """Decode and check everything.

    Args:
        raw: The hashes; an empty meta hash means a store that is to be made.
        new_identity: The identity of a store that is to be made.

    Raises:
        ValueError: A record cannot be read, or two contradict each other; the text says which.
    """
    meta = raw.meta
    if not meta:
        _check_empty(raw)
        return Kept(Tables(new_identity, 1, 0, {}, [], [], [], []), {})
    missing = [name for name in META_FIELDS if name not in meta]
    if missing:
        raise ValueError(f"{keys.META} lacks {', '.join(missing)}")
    blockers = {name: int(_field(name, row, "blockers")) for name, row in raw.nodes.items()}
    kept = Kept(_tables(raw, blockers), blockers)
    _check(kept.tables, raw)
    return kept


def _check_empty(raw: RawTables) -> None:
    for name in ("allocations", "request_ids", "agents", "centers", "nodes"):
        if getattr(raw, name):
            raise ValueError(f"there are {name}, but {keys.META} is gone")


def _tables(raw: RawTables, blockers: Mapping[str, int]) -> Tables:
    meta = raw.meta
    decoder = codec.Decoder()
    return Tables(
        identity=meta["identity"],
        epoch=int(meta["epoch"]),
        revision=int(meta["revision"]),
        epochs={int(k): int(v) for k, v in json.loads(meta["epochs"]).items()},
        agents=[codec.decode_agent(text) for text in raw.agents.values()],
        centers=[(name, *_center(name, text)) for name, text in sorted(raw.centers.items())],
        nodes=[
            (
                codec.decode_node(_field(name, row, "record")),
                bool(blockers[name] & Blocker.CORDONED),
                row.get("message", ""),
            )
            for name, row in raw.nodes.items()
        ],
        allocations=[
            _allocation(decoder, key, text) for key, text in sorted(raw.allocations.items())
        ],
        forgotten_through=int(meta.get("forgotten_through", "0")),
    )


def _center(name: str, text: str) -> tuple[bool, str]:
    row = json.loads(text)
    if not isinstance(row, list) or [type(x) for x in row] != [bool, str]:
        raise ValueError(f"center {name} cannot be read: {text[:80]}")
    return row[0], row[1]


def _field(node: str, row: Mapping[str, str], field: str) -> str:
    if field not in row:
        raise ValueError(f"{keys.node_key(node)} has no {field}")
    return row[field]


def _allocation(decoder: codec.Decoder, key: str, text: str) -> Allocation:
    revision, _, record = text.partition(" ")
    try:
        allocation = decoder.allocation(record)
    except (LookupError, TypeError) as error:
        raise ValueError(f"allocation {key} cannot be read: {error!r}") from error
    if allocation.id != key or str(allocation.revision) != revision:
        raise ValueError(f"allocation {key} holds the record of another, or of another revision")
    return allocation


def _check(tables: Tables, raw: RawTables) -> None:
    """Whether what the script judges by follows from the records."""
    state = LedgerState()
    fill(state, tables)
    bound = {keys.request_field(*key): holder for key, holder in state.request_ids.items()}
    if bound != raw.request_ids:
        wrong = min(set(bound.items()) ^ set(raw.request_ids.items()))
        raise ValueError(f"request_id {wrong[0]} is not what the allocations say")
    for name, book in state.nodes.items():
        row = raw.nodes.get(name, {})
        for prefix, want in ((keys.USED, book.used), (keys.CAPACITY, book.capacity)):
            have = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}
            if have != {k: str(v) for k, v in want.items()}:
                raise ValueError(f"{keys.node_key(name)}: {prefix}* is not what the records say")
