"""The arbiter: does a lease fit on what is really there?

May import model and the generated protos. Pure: equal arguments give equal answers.

The broker plans on reports that are seconds old; the agent decides on what it sees now. What
it admits is never more than there is, whatever the broker believes (invariant:
`overfull(node, held)` stays empty as long as the node does not change).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from computepool.v1 import types_pb2 as types
from computepool_agents.model import (
    MAX_AMOUNT,
    WHOLE_DEVICE_MILLI,
    Amounts,
    Held,
    Node,
    total_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_NAME = 200
# Backends make file names and engine ids of these.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
MAX_DEVICES = 64

MALFORMED = "MALFORMED"
STALE_EPOCH = "STALE_EPOCH"
CONTACT_UNSUPPORTED = "CONTACT_UNSUPPORTED"
NODE_UNKNOWN = "NODE_UNKNOWN"
UNSCHEDULABLE = "UNSCHEDULABLE"
DEVICE_UNKNOWN = "DEVICE_UNKNOWN"
DEVICE_UNHEALTHY = "DEVICE_UNHEALTHY"
DOES_NOT_FIT = "DOES_NOT_FIT"
JOURNAL_FULL = "JOURNAL_FULL"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not.

    Attributes:
        reason: Stable upper-case word.
        message: For people, with names and amounts.
    """

    reason: str
    message: str


@dataclass(slots=True)
class Load:
    """What the leases of one node hold, summed once for however many decisions.

    Attributes:
        amounts: Besides devices.
        devices: Thousandths by device id.
    """

    amounts: Amounts
    devices: Counter[str]

    @classmethod
    def of(cls, held: Iterable[Held]) -> Load:
        """The sum of these leases."""
        leases = tuple(held)
        return cls(total_of(Amounts.of(h.record.resources) for h in leases), device_milli(leases))

    def add(self, lease: Held) -> None:
        """Count one more lease."""
        self.amounts = self.amounts.plus(Amounts.of(lease.record.resources))
        self.devices.update(device_milli((lease,)))


def judge(
    record: types.LeaseRecord,
    nodes: Mapping[str, Node],
    on_node: Load,
    highest_epoch: int,
) -> Refusal | None:
    """Decide on one lease.

    Args:
        record: The lease to judge.
        nodes: The agent's nodes by name, measured last.
        on_node: Of all leases that the agent holds on the record's node, in any journalled state.
        highest_epoch: The highest epoch that the agent has ever seen.

    Returns:
        None to admit, else the first reason against it.
    """
    refusal = _malformed(record) or _out_of_time(record, highest_epoch)
    if refusal:
        return refusal
    node = nodes.get(record.node)
    if node is None:
        return Refusal(NODE_UNKNOWN, f"node {record.node!r} is not here")
    if node.unschedulable:
        return Refusal(UNSCHEDULABLE, f"node {node.name!r} takes no new work")
    return _unusable_device(record, node) or _too_much(record, node, on_node)


def overfull(node: Node, held: Iterable[Held]) -> dict[str, int]:
    """Name what the held leases take beyond what the node has for them, and by how much.

    Device shares are named "devices.<id>", in thousandths.
    """
    leases = tuple(held)
    beyond = total_of(Amounts.of(h.record.resources) for h in leases).beyond(_room(node))
    rooms = {d.id: WHOLE_DEVICE_MILLI - d.foreign_milli for d in node.devices}
    for device_id, milli in device_milli(leases).items():
        if milli > rooms.get(device_id, 0):
            beyond[f"devices.{device_id}"] = milli - rooms.get(device_id, 0)
    return beyond


def device_milli(held: Iterable[Held]) -> Counter[str]:
    """Sum the thousandths of each device that the leases hold."""
    sums: Counter[str] = Counter()
    for lease in held:
        for share in lease.record.devices:
            sums[share.device_id] += share.milli
    return sums


def _room(node: Node) -> Amounts:
    return node.total.minus(node.reserved).minus(node.foreign)


def _malformed(record: types.LeaseRecord) -> Refusal | None:
    problem = _problem(record)
    return Refusal(MALFORMED, problem) if problem else None


def _problem(record: types.LeaseRecord) -> str:
    for name, value in (("lease_id", record.lease_id), ("allocation_id", record.allocation_id)):
        if not NAME.fullmatch(value):
            return f"record.{name} must match {NAME.pattern}, not {value[:MAX_NAME]!r}"
    for name, amount in Amounts.of(record.resources).named().items():
        if not 0 <= amount <= MAX_AMOUNT:
            return f"record.resources.{name} must be 0 to {MAX_AMOUNT}, not {amount}"
    if len(record.devices) > MAX_DEVICES:
        return f"record.devices must have at most {MAX_DEVICES} entries"
    for share in record.devices:
        if not 0 < share.milli <= WHOLE_DEVICE_MILLI:
            return f"record.devices.milli must be 1 to {WHOLE_DEVICE_MILLI}, not {share.milli}"
    return ""


def _out_of_time(record: types.LeaseRecord, highest_epoch: int) -> Refusal | None:
    if record.mark.epoch < highest_epoch:
        return Refusal(
            STALE_EPOCH, f"granted in epoch {record.mark.epoch}, {highest_epoch} has been seen"
        )
    term = record.spec.contact
    if term.policy == types.CONTACT_POLICY_STOP_AFTER and term.after_s > 0:
        return None
    if term.policy in {types.CONTACT_POLICY_UNSPECIFIED, types.CONTACT_POLICY_KEEP}:
        return None
    return Refusal(CONTACT_UNSUPPORTED, f"contact policy {term.policy} after {term.after_s} s")


def _unusable_device(record: types.LeaseRecord, node: Node) -> Refusal | None:
    devices = {device.id: device for device in node.devices}
    for share in record.devices:
        device = devices.get(share.device_id)
        if device is None:
            return Refusal(DEVICE_UNKNOWN, f"node {node.name!r} has no {share.device_id!r}")
        if not device.healthy:
            return Refusal(DEVICE_UNHEALTHY, f"device {device.id!r} is not healthy")
    return None


def _too_much(record: types.LeaseRecord, node: Node, load: Load) -> Refusal | None:
    room = _room(node).minus(load.amounts)
    short = Amounts.of(record.resources).beyond(room)
    asked, taken = device_milli([Held(record, types.LEASE_STATE_PENDING)]), load.devices
    foreign = {device.id: device.foreign_milli for device in node.devices}
    for device_id, milli in asked.items():
        left = WHOLE_DEVICE_MILLI - foreign[device_id] - taken[device_id]
        if milli > left:
            short[f"devices.{device_id}"] = milli - left
    if not short:
        return None
    amounts = ", ".join(f"{amount} of {name}" for name, amount in sorted(short.items()))
    return Refusal(DOES_NOT_FIT, f"node {node.name!r} lacks {amounts}")
