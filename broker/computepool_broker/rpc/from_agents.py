"""Messages of agents to the broker's values. See from_wire."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from computepool.v1 import types_pb2 as types
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.ledger.reconcile import Held, HeldRecord, HeldState
from computepool_broker.model.alike import Alike, sharing
from computepool_broker.model.amounts import MAX_AMOUNT, WHOLE_DEVICE, Resources
from computepool_broker.model.records import AgentRecord, Device, NodeRecord
from computepool_broker.rpc import limits
from computepool_broker.rpc.from_wire import (
    MAX_DEVICES,
    MAX_PARTS,
    SpecReader,
    read_amounts,
    read_id,
    read_request_id,
    read_resources,
    read_tenant,
)
from computepool_broker.services.messages import Idle, Mark, Open, Report
from computepool_broker.services.reports import MAX_NODES
from computepool_broker.services.reports import MAX_PARTS as MAX_REPORT_PARTS

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from computepool.v1 import agent_pb2 as wire
    from computepool_broker.model.book import NodeBook

NODES_A_STEP = 100
LEASES_A_STEP = 250
"""Read before others get a turn: about 5 ms, for nodes and records that nobody has seen yet."""
SPARE_NODES = 1_024
NOTHING_KNOWN: tuple[bytes, NodeRecord | None] = (b"", None)
ROLES = ("core", "support", "receiver")
MAX_REVISION = 2**62
HELD_STATES = {int(s): s for s in HeldState}


def read_open(message: wire.OpenSessionRequest) -> Open:
    """A validated OpenSession."""
    if message.role not in ROLES:
        raise InvalidArgumentError("role", f"must be one of {', '.join(ROLES)}")
    record = AgentRecord(
        read_id("agent", message.agent),
        read_id("journal_id", message.journal_id),
        limits.ranged("session", message.session, 1, MAX_REVISION),
        read_id("center", message.center),
        read_id("region", message.region),
        message.role,
        limits.text("agent_version", message.agent_version, 64),
        limits.text("backend", message.backend, 64),
    )
    return Open(
        record, message.protocol_version, read_mark("seen", message.seen), message.held_leases
    )


def read_mark(field: str, message: types.StoreMark) -> Mark:
    """A validated mark; its identity is empty when the agent has seen no store yet."""
    identity = message.identity
    return Mark(
        limits.matched(f"{field}.identity", identity, limits.TENANT) if identity else "",
        limits.ranged(f"{field}.epoch", message.epoch, 0, MAX_REVISION),
        limits.ranged(f"{field}.revision", message.revision, 0, MAX_REVISION),
    )


class NodeReader:
    """Reads nodes; remembers them by what their messages say, since most repeat.

    What is as the ledger has it already becomes the ledger's own value.

    Args:
        nodes: The ledger's. No more is remembered than about twice as many as it has.
    """

    def __init__(self, nodes: Mapping[str, NodeBook]) -> None:
        self._nodes = nodes
        self._known: dict[str, tuple[bytes, NodeRecord]] = {}
        self._alike = Alike()

    def read(self, at: int, message: wire.NodeReport, agent: AgentRecord) -> NodeRecord:
        """The validated node, number `at` of its message: the same object when it is the same."""
        foreign = read_resources(f"nodes[{at}].foreign", message.foreign)
        message.ClearField("foreign")
        message.ClearField("age_ms")
        text = message.SerializeToString(deterministic=True)
        digest = blake2b(text, digest_size=16).digest()
        seen, record = self._known.get(message.node, NOTHING_KNOWN)
        if seen == digest and record is not None and _is_of(record, agent):
            # What changes often is the use by others: the rest is not looked at again.
            if record.foreign == foreign:
                return record
            record = record._replace(foreign=foreign)
        else:
            record = _read_node(f"nodes[{at}]", message, agent, foreign, self._alike)
            book = self._nodes.get(record.name)
            if book is not None:
                record = sharing(book.record, record)
        self._remember(digest, record)
        return record

    def _remember(self, digest: bytes, record: NodeRecord) -> None:
        if len(self._known) > 2 * len(self._nodes) + SPARE_NODES:
            kept = self._known.keys() & self._nodes.keys()
            self._known = {name: self._known[name] for name in kept}
        if len(self._known) <= 2 * len(self._nodes) + SPARE_NODES:
            self._known[record.name] = (digest, record)


def _is_of(record: NodeRecord, agent: AgentRecord) -> bool:
    return (record.agent, record.center, record.region) == (
        agent.name,
        agent.center,
        agent.region,
    )


def read_idle(message: wire.SyncRequest) -> Idle | None:
    """A whole difference that names nothing, not validated further; None when it is none.

    Names are looked up and numbers compared: what passes is known, what does not is read as any
    other report and refused by its field.
    """
    if (
        not message.delta
        or message.parts > 1
        or message.part
        or message.applied_revision > MAX_REVISION
        or message.nodes
        or message.leases
        or message.nodes_gone
        or message.leases_gone
    ):
        return None
    return Idle(
        message.agent,
        message.session,
        message.sequence,
        message.applied_revision,
        message.base_sequence,
    )


def read_report(
    message: wire.SyncRequest, specs: SpecReader, nodes: NodeReader, record: AgentRecord | None
) -> Generator[None, None, Report]:
    """A validated Sync, read in steps of a few milliseconds.

    Args:
        message: As it came.
        specs: Reads specs.
        nodes: Reads nodes.
        record: The agent, which tells its center and region; nothing is read of the nodes of an
            agent that is not known.
    """
    agent = read_id("agent", message.agent)
    parts = limits.ranged("parts", message.parts, 0, MAX_REPORT_PARTS) or 1
    part = limits.ranged("part", message.part, 0, parts - 1)
    applied = limits.ranged("applied_revision", message.applied_revision, 0, MAX_REVISION)
    if message.nodes_unchanged and message.nodes:
        raise InvalidArgumentError("nodes_unchanged", "contradicts nodes")
    _check_delta(message)
    read_nodes, oldest_ms = yield from _read_nodes(message, nodes, record)
    held = yield from _read_leases(message, specs)
    return Report(
        agent,
        message.session,
        message.sequence,
        part,
        parts,
        applied,
        held,
        read_nodes,
        message.nodes_unchanged,
        oldest_ms,
        message.delta,
        message.base_sequence,
        list(message.nodes_gone),
        list(message.leases_gone),
    )


def _check_delta(message: wire.SyncRequest) -> None:
    """Names that are gone are not checked further: only such as are there can go."""
    for field in ("nodes", "nodes_gone"):
        if len(getattr(message, field)) > MAX_NODES:
            raise InvalidArgumentError(field, f"more than {MAX_NODES} of one agent")
    if message.delta:
        limits.ranged("base_sequence", message.base_sequence, 1, MAX_REVISION)
        if message.nodes_unchanged and message.nodes_gone:
            raise InvalidArgumentError("nodes_unchanged", "contradicts nodes_gone")
        return
    for field in ("base_sequence", "nodes_gone", "leases_gone"):
        if getattr(message, field):
            raise InvalidArgumentError(field, "only with delta")


def _read_nodes(
    message: wire.SyncRequest, nodes: NodeReader, record: AgentRecord | None
) -> Generator[None, None, tuple[list[NodeRecord], int]]:
    out: list[NodeRecord] = []
    oldest_ms = 0
    if record is None:
        return out, oldest_ms
    for at, node in enumerate(message.nodes):
        if at % NODES_A_STEP == NODES_A_STEP - 1:
            yield
        age_ms = node.age_ms
        if age_ms:
            limits.ranged(f"nodes[{at}].age_ms", age_ms, 0, MAX_REVISION)
            oldest_ms = max(oldest_ms, age_ms)
        out.append(nodes.read(at, node, record))
    return out, oldest_ms


def _read_leases(message: wire.SyncRequest, specs: SpecReader) -> Generator[None, None, list[Held]]:
    out: list[Held] = []
    for at, lease in enumerate(message.leases):
        if at % LEASES_A_STEP == LEASES_A_STEP - 1:
            yield
        out.append(_read_held(f"leases[{at}]", lease, specs))
    return out


def _read_node(
    field: str, message: wire.NodeReport, agent: AgentRecord, foreign: Resources, alike: Alike
) -> NodeRecord:
    name = read_id(f"{field}.node", message.node)
    limits.ranged(f"{field}.devices", len(message.devices), 0, MAX_DEVICES)
    devices = alike.devices([_read_device(f"{field}.devices", d) for d in message.devices])
    if len(set(devices.keys)) != len(devices):
        raise InvalidArgumentError(f"{field}.devices", f"node {name} lists a device twice")
    return NodeRecord(
        name,
        agent.center,
        agent.region,
        agent.name,
        alike.resources(read_resources(f"{field}.total", message.total)),
        alike.resources(read_resources(f"{field}.reserved", message.reserved)),
        foreign,
        devices,
        alike.labels(limits.labels(f"{field}.labels", message.labels)) if message.labels else (),
        message.unschedulable,
    )


def _read_device(field: str, message: types.Device) -> Device:
    device = Device(
        message.id,
        message.model,
        message.memory_mib,
        message.health != types.DEVICE_HEALTH_UNHEALTHY,
        message.foreign_milli,
    )
    passes = (
        limits.DEVICE_ID.fullmatch(device.id)
        and limits.MODEL.fullmatch(device.model)
        and 0 <= device.memory_mib <= MAX_AMOUNT
        and 0 <= device.foreign_milli <= WHOLE_DEVICE
    )
    if passes:  # as nearly all do: names of fields are put together only for what does not
        return device
    return Device(
        limits.matched(f"{field}.id", message.id, limits.DEVICE_ID),
        limits.matched(f"{field}.model", message.model, limits.MODEL),
        limits.amount(f"{field}.memory_mib", message.memory_mib),
        message.health != types.DEVICE_HEALTH_UNHEALTHY,
        limits.ranged(f"{field}.foreign_milli", message.foreign_milli, 0, WHOLE_DEVICE),
    )


def _read_held(field: str, message: wire.HeldLease, specs: SpecReader) -> Held:
    state = HELD_STATES.get(message.state)
    if state is None:
        raise InvalidArgumentError(
            f"{field}.state", f"{int(message.state)} is no state of a held lease"
        )
    lease_id = message.lease_id
    if not lease_id or len(lease_id) > 128:  # noqa: PLR2004 - ours are below 40
        raise InvalidArgumentError(f"{field}.lease_id", "must be given, at most 128 characters")
    # Also without a record: the audit shows to people what an agent holds against the ledger.
    limits.matched(f"{field}.lease_id", lease_id, limits.NAME)
    if state in (HeldState.ADMITTED, HeldState.STARTED) and not message.HasField("record"):
        return Held(lease_id, state)
    record = None
    if message.HasField("record"):
        record = _read_record(f"{field}.record", message.record, specs)
        if record.lease_id != lease_id:
            raise InvalidArgumentError(f"{field}.record.lease_id", "is another lease's")
    return Held(
        lease_id,
        state,
        limits.matched(f"{field}.reason", message.reason, limits.WORD),
        limits.text(f"{field}.message", message.message),
        record,
    )


def _read_record(field: str, message: types.LeaseRecord, specs: SpecReader) -> HeldRecord:
    spec = specs.read_recorded(f"{field}.spec", message.spec)
    count = limits.ranged(f"{field}.count", message.count, 1, MAX_PARTS)
    if spec.power is not None:
        # The request leaves it open into how many parts its power is cut.
        spec = spec._replace(parts=count)
    if spec.parts != count:
        raise InvalidArgumentError(f"{field}.count", "is not the spec's")
    model = message.model
    mark = read_mark(f"{field}.mark", message.mark)
    record = HeldRecord(
        message.lease_id,
        read_id(f"{field}.allocation_id", message.allocation_id),
        read_tenant(f"{field}.tenant", message.tenant),
        read_request_id(message.request_id, f"{field}.request_id"),
        bytes(message.digest[:64]),
        limits.ranged(f"{field}.index", message.index, 0, count - 1),
        count,
        limits.ranged(f"{field}.place_revision", message.place_revision, 0, 1_000),
        read_id(f"{field}.node", message.node),
        limits.matched(f"{field}.model", model, limits.MODEL) if model else "",
        read_amounts(field, message.resources, list(message.devices)),
        spec,
        *mark,
        limits.text(f"{field}.description", message.description),
        limits.labels(f"{field}.labels", message.labels) if message.labels else (),
    )
    want = f"{record.allocation_id}.{record.part_index}.{record.place_revision}"
    if record.lease_id != want:
        raise InvalidArgumentError(f"{field}.lease_id", f"{want} would be its name")
    return record
