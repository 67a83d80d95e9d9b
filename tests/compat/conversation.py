"""Speaks the contract of an older version: messages of its own descriptors, bytes on the wire.

A conversation is a list of steps. Each names a call and its request; what only the broker can know
(ids, revisions) is filled in from an earlier answer. Nothing here uses this version's generated
code: what an old program sends and understands is what its descriptors say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

CALL_S = 15.0
FOLDER = Path(__file__).parent
VOLATILE = frozenset(
    {
        "id", "leaseId", "allocationId", "etag", "createTime", "remainingTtlMs", "revision",
        "identity", "epoch", "brokerVersion", "nextSyncMs", "leastGapMs", "viewRevision",
        "auditFindings", "grantsTotal", "refusalsTotal", "digest", "message", "description",
        "summary", "nextPageToken",
    }
)  # fmt: skip
"""Fields (JSON names) that are different each time, or written for people: only whether they are
there is compared."""
AGES = frozenset({"ageMs", "lastSyncAgeMs", "inFlightAgeMs", "durationMs"})
"""These can be 0, and so not be there."""


class Contract:
    """The messages and calls of one version, from its file descriptors."""

    def __init__(self, folder: Path) -> None:
        files = descriptor_pb2.FileDescriptorSet.FromString(
            (folder / "contract.binpb").read_bytes()
        )
        self._pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self._pool.AddSerializedFile(file.SerializeToString())
        self._methods = {
            f"{file.package}.{service.name}/{method.name}": method
            for file in files.file
            for service in file.service
            for method in service.method
        }

    @property
    def calls(self) -> set[str]:
        """Full names of all calls."""
        return set(self._methods)

    def streams(self, call: str) -> bool:
        """Whether the call answers with a stream."""
        return self._methods[call].server_streaming

    def request(self, call: str) -> Message:
        """An empty request of a call."""
        return self.message(self._methods[call].input_type)

    def answer(self, call: str, data: bytes) -> Message:
        """An answer of a call, as that version reads it."""
        message = self.message(self._methods[call].output_type)
        message.ParseFromString(data)
        return message

    def message(self, name: str) -> Message:
        """An empty message of a full name."""
        kind = self._pool.FindMessageTypeByName(name.lstrip("."))
        return message_factory.GetMessageClass(kind)()


@dataclass
class Step:
    """One call.

    Attributes:
        call: Its full name.
        request: Its request as it was recorded, as bytes in hex.
        fill: Paths in the request ("leases.0.lease_id") and where in the answers so far their
            values come from ("3.commands.0.lease_id" is of step 3).
        answer: As it was recorded, in hex; of a stream the first message.
        error: Code and reason of the error that was recorded instead.
    """

    call: str
    request: str
    fill: dict[str, str] = field(default_factory=dict)
    answer: str = ""
    error: list[str] = field(default_factory=list)


def load(folder: Path, name: str) -> list[Step]:
    """A recorded conversation."""
    found = json.loads((folder / f"{name}.json").read_text())
    return [Step(**step) for step in found]


@dataclass
class Outcome:
    """What came of a step: an answer, or the code and reason of an error."""

    answer: Message | None = None
    error: list[str] = field(default_factory=list)


class Speaker:
    """Says the steps of a conversation to a broker, one after the other."""

    def __init__(self, contract: Contract, channel: grpc.aio.Channel) -> None:
        self._contract = contract
        self._channel = channel
        self.outcomes: list[Outcome] = []
        self._ringing: list[Any] = []

    async def say(self, step: Step) -> Outcome:
        """Make one call with the recorded bytes, filled in."""
        request = self._contract.request(step.call)
        request.ParseFromString(bytes.fromhex(step.request))
        for path, source in step.fill.items():
            _put(request, path, self._value(source))
        data = request.SerializeToString()
        try:
            answer = await self._call(step.call, data)
            outcome = Outcome(self._contract.answer(step.call, answer))
        except grpc.aio.AioRpcError as error:
            outcome = Outcome(error=[error.code().name, reason_of(error)])
        self.outcomes.append(outcome)
        return outcome

    async def _call(self, call: str, data: bytes) -> bytes:
        if not self._contract.streams(call):
            unary: Any = self._channel.unary_unary(f"/{call}")
            return bytes(await unary(data, timeout=CALL_S))
        streaming: Any = self._channel.unary_stream(f"/{call}")
        return bytes(await streaming(data, timeout=CALL_S).read())

    def _value(self, source: str) -> Any:
        at, _, path = source.partition(".")
        found: Any = self.outcomes[int(at)].answer
        for name in path.split("."):
            found = found[int(name)] if name.isdigit() else getattr(found, name)
        return found


def _put(message: Any, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        message = message[int(name)] if name.isdigit() else getattr(message, name)
    setattr(message, last, value)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The stable reason, and the field that it names."""
    said = ""
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                said = info.reason
            elif detail.Unpack(bad):
                said += ":" + ",".join(v.field for v in bad.field_violations)
    return said


def shown(message: Message, volatile: frozenset[str] = VOLATILE) -> Any:
    """A message as that version shows it; of what differs each time only that it is there."""
    return _steady(json_format.MessageToDict(message), volatile)


def _steady(value: Any, volatile: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: bool(inner) if key in volatile else _steady(inner, volatile)
            for key, inner in value.items()
            if key not in AGES
        }
    if isinstance(value, list):
        return [_steady(item, volatile) for item in value]
    return value


def unknown_enums(message: Message, where: str = "") -> Iterator[str]:
    """Fields of a message with a number that its version has no word for."""
    for kind, value in message.ListFields():
        path = f"{where}.{kind.name}"
        each: Any = value if kind.is_repeated else [value]
        if kind.is_repeated and hasattr(value, "values"):
            each = value.values()
        for item in each:
            if kind.enum_type is not None and item not in kind.enum_type.values_by_number:
                yield f"{path} = {item}"
            elif hasattr(item, "ListFields"):
                yield from unknown_enums(item, path)
