"""What the agent knows about its leases, in memory: the journal's content, indexed.

May import model, admission and the generated protos. Pure: it changes only by `adopt`, with a
Change that the journal has already made durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_agents.model import JOURNALLED, Change, Contact, Held, Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from computepool.v1.types_pb2 import LeaseState


class Book:
    """Held leases by id and by node, the highest mark seen, the last contact."""

    def __init__(
        self,
        held: Iterable[Held] = (),
        seen: Mark | None = None,
        contact: Contact | None = None,
    ) -> None:
        self._held: dict[str, Held] = {}
        self._by_node: dict[str, dict[str, Held]] = {}
        self._by_state: dict[LeaseState, int] = dict.fromkeys(JOURNALLED, 0)
        self.seen = seen
        self.contact = contact
        for lease in held:
            self._put(lease)

    @property
    def held(self) -> Mapping[str, Held]:
        """All journalled leases by id."""
        return self._held

    @property
    def by_state(self) -> Mapping[LeaseState, int]:
        """Number of journalled leases in each state."""
        return self._by_state

    def on_node(self, node: str) -> Mapping[str, Held]:
        """All journalled leases of one node, by id."""
        return self._by_node.get(node, {})

    def adopt(self, change: Change) -> None:
        """Take over what has been made durable."""
        for lease in change.puts:
            self._put(lease)
        for lease_id in change.drops:
            self._drop(lease_id)
        if change.mark is not None and change.mark.is_above(self.seen):
            self.seen = change.mark
        if change.contact is not None:
            self.contact = change.contact

    def _put(self, lease: Held) -> None:
        if lease.state not in JOURNALLED:
            raise ValueError(f"a lease in state {lease.state} is never held")
        self._drop(lease.lease_id)
        self._held[lease.lease_id] = lease
        self._by_state[lease.state] += 1
        self._by_node.setdefault(lease.record.node, {})[lease.lease_id] = lease

    def _drop(self, lease_id: str) -> None:
        lease = self._held.pop(lease_id, None)
        if lease is None:
            return
        self._by_state[lease.state] -= 1
        on_node = self._by_node[lease.record.node]
        del on_node[lease_id]
        if not on_node:
            del self._by_node[lease.record.node]
