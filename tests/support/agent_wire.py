"""Reading what agents send, as the broker does, without a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.rpc.from_agents import NodeReader, read_report
from computepool_broker.rpc.from_wire import SpecReader
from support.builders import make_agent

if TYPE_CHECKING:
    from computepool.v1 import agent_pb2 as wire
    from computepool_broker.model.records import AgentRecord
    from computepool_broker.services.messages import Report


def read_whole(message: wire.SyncRequest, agent: AgentRecord | None = None) -> Report:
    """The report, read in one go; of agent a1 unless another is given."""
    reading = read_report(message, SpecReader(), NodeReader({}), agent or make_agent())
    while True:
        try:
            next(reading)
        except StopIteration as done:
            report: Report = done.value
            return report
