"""The tables of the ledger as comparable values, independent of the live ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model import codec
from computepool_broker.model.amounts import Resources
from computepool_broker.model.records import Devices

if TYPE_CHECKING:
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.book import NodeBook

Shown = dict[str, Any]


def everything(state: LedgerState) -> Shown:
    """All that the tables say, volatile or not."""
    return _common(state) | {
        "nodes": {name: _node(book) for name, book in state.nodes.items()},
        "agents": {
            name: (book.record, book.state, sorted(book.nodes), dict(book.leases))
            for name, book in state.agents.items()
        },
        "moving": dict(state.moving),
    }


def lasting(state: LedgerState) -> Shown:
    """What must be there again after the store was opened anew."""
    return _common(state) | {
        "nodes": {
            name: (
                book.record._replace(
                    foreign=Resources(),
                    devices=Devices.of(
                        device._replace(healthy=True, foreign_milli=0)
                        for device in book.record.devices
                    ),
                ),
                book.blockers & Blocker.CORDONED,
                book.message,
                dict(book.used),
            )
            for name, book in state.nodes.items()
        },
        "agents": {name: book.record for name, book in state.agents.items()},
    }


def _common(state: LedgerState) -> Shown:
    return {
        "identity": state.identity,
        "epoch": state.epoch,
        "epochs": dict(state.epochs),
        "revision": state.revision,
        "forgotten_through": state.forgotten_through,
        "centers": {name: (c.cordoned, c.message) for name, c in state.centers.items()},
        "allocations": {
            key: codec.Encoder().allocation(record) for key, record in state.allocations.items()
        },
        "request_ids": dict(state.request_ids),
        "live": state.live,
    }


def _node(book: NodeBook) -> tuple[Any, ...]:
    return (
        book.record,
        dict(book.capacity),
        dict(book.used),
        Blocker.names(book.blockers),
        book.leases,
        book.conflicts,
        book.message,
    )
