"""Messages of the protocol as JSON documents with stable shape.

Field names are those of the .proto files and every field is there: absent
messages are null, enums are their names, 64-bit integers are numbers (protobuf's
own JSON would make them strings), times are RFC 3339. Pure but for `dump`'s
print.
"""

import base64
import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

if TYPE_CHECKING:
    from google.protobuf.message import Message

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def document(message: "Message") -> dict[str, Json]:
    """The whole message as a JSON object."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def documents(messages: "Iterable[Message]") -> list[Json]:
    """Messages as a JSON array."""
    return [document(message) for message in messages]


def dump(value: Mapping[str, Json], stream: TextIO | None = None, *, line: bool = False) -> None:
    """Prints one JSON document; in one line for streams of events."""
    stream = stream or sys.stdout
    # Escaped where the stream could not carry the characters themselves.
    escaped = (stream.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=escaped, indent=None if line else 2)
    print(text, file=stream, flush=line)


def enum_name(message: "Message", field: str) -> str:
    """The name of the value that an enum field has; its number where it has none."""
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    return str(_scalar(getattr(message, field), descriptor))


def _field(message: "Message", field: Any) -> Json:
    value: Any = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {str(key): _scalar(value[key], None) for key in sorted(value)}
    if field.is_repeated:
        return [_one(each, field) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _one(value, field)


def _one(value: Any, field: Any) -> Json:
    if field.message_type is None:
        return _scalar(value, field)
    if field.message_type.full_name == "google.protobuf.Timestamp":
        text: str = value.ToJsonString()
        return text
    return document(value)


def _scalar(value: Any, field: Any) -> Json:
    if field is not None and field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return int(value) if known is None else known.name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    scalar: bool | int | float | str = value
    return scalar
