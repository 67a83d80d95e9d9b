"""The tables from what Redis holds, checked against each other. Pure.

Others commit while the tables are read, piece by piece, so that what was read is of no one moment.
Whatever they did stands in the stream: `replay` brings what was read up to its end.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model import codec
from computepool_broker.model.records import AgentState
from computepool_broker.store import redis_keys as keys
from computepool_broker.store.loading import Tables
from computepool_broker.store.redis_batch import absolute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import Allocation
    from computepool_broker.store.redis_batch import Note
    from computepool_broker.store.redis_client import RawTables

PREFIXES = (keys.USED, keys.CAPACITY)
META_FIELDS = ("identity", "epoch", "epochs", "revision", "server", "term")


def replay(raw: RawTables, fields: Mapping[str, str]) -> None:
    """Bring raw tables up to one entry of the stream; what it did may be in them already.

    Raises:
        ValueError, LookupError: It is no such entry.
    """
    base = int(fields["base"])
    rejected = {int(at) for at in fields["rejected"].split(",") if at}
    batch = json.loads(fields["batch"])
    for at, note in enumerate(batch["transactions"], 1):
        if at not in rejected:
            _replay_note(raw, note, batch["names"], base)


def _replay_note(raw: RawTables, note: Note, names: list[str], base: int) -> None:
    meta = raw.meta
    _raise(meta, "revision", absolute(note["revision"], base))
    if "forgotten_through" in note:
        _raise(meta, "forgotten_through", absolute(note["forgotten_through"], base))
    if "start" in note and int(note["start"][0]) > int(meta["epoch"]):
        meta["epoch"], meta["epochs"] = note["start"][:2]
    for name, session, state, record in note.get("agents", ()):
        if not record:
            raw.agents.pop(name, None)
            continue
        _, old_state, old_term = (raw.agents.get(name, "0 3 0 ").split(" ", 3))[:3]
        now = f"{state} {meta['term']}" if state else f"{old_state} {old_term}"
        raw.agents[name] = f"{session} {now} {record}"
    raw.centers.update(dict(note.get("centers", ())))
    for row in note.get("nodes", ()):
        _replay_node(raw, names[row[0] - 1], row)
    for row in note.get("blockers", ()):
        node = raw.nodes.get(names[row[0] - 1])
        if node is not None:
            node["blockers"] = str(int(node.get("blockers", "0")) & ~row[2] | row[1])
            if len(row) > 3:  # noqa: PLR2004 - the message
                node["message"] = row[3]
    for key, _, own, record, _, _ in note.get("puts", ()):
        if not record:
            raw.allocations.pop(key, None)
            continue
        revision = absolute(own, base)
        present = raw.allocations.get(key, "0 ")
        if int(present.partition(" ")[0]) < revision:
            raw.allocations[key] = f"{revision} {base} {record}"


def _raise(meta: dict[str, str], field: str, to: int) -> None:
    meta[field] = str(max(int(meta.get(field, "0")), to))


def _replay_node(raw: RawTables, name: str, row: list[object]) -> None:
    if not row[1]:
        raw.nodes.pop(name, None)
        return
    node = raw.nodes.setdefault(name, {})
    kept = int(node.get("blockers", "0")) & (Blocker.CORDONED | Blocker.SUSPECT)
    node["record"], node["blockers"] = str(row[1]), str(kept | int(str(row[3])))


def parse(raw: RawTables) -> Tables:
    """Decode everything.

    Raises:
        ValueError: A record cannot be read; the text says which.
    """
    meta = raw.meta
    missing = [name for name in META_FIELDS if name not in meta]
    if missing:
        raise ValueError(f"{keys.META} lacks {', '.join(missing)}")
    decoder = codec.Decoder()
    agents = {name: text.split(" ", 3) for name, text in raw.agents.items()}
    term = meta["term"]
    return Tables(
        identity=meta["identity"],
        epoch=int(meta["epoch"]),
        revision=int(meta["revision"]),
        epochs={int(k): int(v) for k, v in json.loads(meta["epochs"]).items()},
        agents=[codec.decode_agent(row[3]) for row in agents.values()],
        centers=[(name, *_center(name, text)) for name, text in sorted(raw.centers.items())],
        nodes=[
            (
                codec.decode_node(_field(name, row, "record")),
                bool(int(row.get("blockers", "0")) & Blocker.CORDONED),
                row.get("message", ""),
            )
            for name, row in raw.nodes.items()
        ],
        allocations=[
            _allocation(decoder, key, text) for key, text in sorted(raw.allocations.items())
        ],
        forgotten_through=int(meta.get("forgotten_through", "0")),
        states={
            name: AgentState(int(row[1])) for name, row in agents.items() if row[2] == term
        },
        suspects=frozenset(
            name
            for name, row in raw.nodes.items()
            if int(row.get("blockers", "0")) & Blocker.SUSPECT
        ),
        renewals={key: int(count) for key, count in raw.renewals.items()},
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
    revision, base, record = text.split(" ", 2)
    try:
        allocation = decoder.allocation(record, int(base))
    except (LookupError, TypeError) as error:
        raise ValueError(f"allocation {key} cannot be read: {error!r}") from error
    if allocation.id != key or str(allocation.revision) != revision:
        raise ValueError(f"allocation {key} holds the record of another, or of another revision")
    return allocation


def check(state: LedgerState, raw: RawTables) -> None:
    """Whether what the script judges by follows from the records.

    Args:
        state: Filled from them.
        raw: As they were read while nothing was written.

    Raises:
        ValueError: It does not; the text says where.
    """
    bound = {keys.request_field(*key): holder for key, holder in state.request_ids.items()}
    if bound != raw.request_ids:
        wrong = min(set(bound.items()) ^ set(raw.request_ids.items()))
        raise ValueError(f"request_id {wrong[0]} is not what the allocations say")
    for name, book in state.nodes.items():
        row = raw.nodes.get(name, {})
        have: dict[str, str] = {k: v for k, v in row.items() if k[:2] in PREFIXES}
        want = {keys.USED + k: str(v) for k, v in book.used.items()}
        want.update({keys.CAPACITY + k: str(v) for k, v in book.capacity.items()})
        if have != want:
            wrong_key = min(set(have.items()) ^ set(want.items()))[0]
            raise ValueError(f"{keys.node_key(name)}: {wrong_key} is not what the records say")
        if int(row.get("leases", "0")) != book.leases:
            raise ValueError(f"{keys.node_key(name)}: leases is not what the records say")
