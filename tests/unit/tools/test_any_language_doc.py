"""docs/any-language.md shows requests that the contract has."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf import json_format, message_factory

from computepool.v1 import agent_pb2, allocation_pb2, inventory_pb2

PAGE = Path(__file__).parents[3] / "docs" / "any-language.md"
COMMAND = re.compile(r"-d '(\{.*?\})'[ \\\n]+\$H (computepool\.v1\.\w+)/(\w+)", re.DOTALL)
STREAMED = re.compile(r"StreamAllocations <<'\.'\n(.*?)\n\.\n", re.DOTALL)
SERVICES = {
    service.full_name: service
    for file in (agent_pb2, allocation_pb2, inventory_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}


def parse(service: str, method: str, text: str) -> None:
    """Raises when the call has no such request."""
    kind = SERVICES[service].methods_by_name[method].input_type
    json_format.Parse(text, message_factory.GetMessageClass(kind)())


def test_every_request_of_the_page_is_one_of_the_contract() -> None:
    found = COMMAND.findall(PAGE.read_text())
    for text, service, method in found:
        parse(service, method, text)
    assert len(found) == PAGE.read_text().count("-d '")


def test_every_message_of_the_stream_is_one_of_the_contract() -> None:
    (messages,) = STREAMED.findall(PAGE.read_text())
    assert messages.strip()
    for line in messages.splitlines():
        parse("computepool.v1.AllocationService", "StreamAllocations", line)
