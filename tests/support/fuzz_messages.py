"""Messages that nobody would send: filled from their descriptors with values at every edge.

`messages` makes any message, `spoiled` changes a good one, `garbage` is bytes. All are made from
what Hypothesis draws, so that a failure becomes small and can be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor as Fd
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    Draw = Callable[[st.SearchStrategy[Any]], Any]

DEEP = 4
"""Messages within messages; beyond it fields that are messages stay empty."""
MOST_BYTES = 1_000_000
"""Of what is repeated: more than 4 MiB would not reach the broker."""
_I32 = (0, 1, -1, 2, 5, 64, 65, 1_000, 1_001, 2**31 - 1, -(2**31))
_I64 = (*_I32, 9, 10, 3_600, 31_536_000, 31_536_001, 60_000, 2**50, 2**50 + 1, 2**62, 2**63 - 1,
        -(2**63))  # fmt: skip
_U32 = (0, 1, 2, 5, 1_000, 1_001, 2**31, 2**32 - 1)
_U64 = (0, 1, 2, 3, 10, 1_000_000, 2**53, 2**62, 2**62 + 1, 2**63, 2**64 - 1)
NUMBERS: dict[int, tuple[Any, ...]] = {
    Fd.TYPE_INT32: _I32,
    Fd.TYPE_INT64: _I64,
    Fd.TYPE_UINT32: _U32,
    Fd.TYPE_UINT64: _U64,
    Fd.TYPE_BOOL: (False, True),
    Fd.TYPE_DOUBLE: (0.0, -1.0, 1e308, float("inf"), float("nan")),
    Fd.TYPE_FLOAT: (0.0, -1.0, 1e38, float("inf"), float("nan")),
}
WORDS = (
    "", "x", "default", "n1", "n2", "n3", "a1", "a2", "c1", "c2", "r1", "journal-a1", "core",
    "receiver", "store-1", "r-1", "H800", "h800", "fp16", "int8", "seats", "n1-d0", "n1-d1",
    "n3-d0", "state = ACTIVE", "labels.k = v", "name desc", "devices >= 1 AND NOT tenant = x*",
    "create_time desc, id", "remaining_ttl < 10m", "DOES_NOT_FIT", "CONTACT_LOST", "1", "k",
)  # fmt: skip
"""What means something somewhere."""
ODD = (
    "\x00", "a\nb", "\u202ename", "e\u0301", "北京", "\U0001f5a5", "a" * 253, "a" * 254, "-", ".",
    "a/b", "%s%n", "' OR 1=1 --", "(" * 40, "\\", '"', "=", "*", "NOT " * 300, "A" * 1_025,
    "z" * 5_000, "\ufeff", "-1", "1e999", "9" * 40, "None",
)  # fmt: skip
LONG = "y" * 100_000
BYTES = (b"", b"\x00", b"\xff" * 16, b"x" * 64, b"x" * 65, b"x" * 5_000)


def message_class(kind: Any) -> type[Message]:
    """The class of a descriptor."""
    return message_factory.GetMessageClass(kind)


@st.composite
def messages(draw: Draw, kind: Descriptor, known: Sequence[str] = (), depth: int = DEEP) -> Message:
    """Any message of a kind; `known` are texts that mean something besides WORDS."""
    out = message_class(kind)()
    for field in kind.fields:
        if draw(st.integers(0, 2)):
            _fill(draw, out, field, known, depth)
    return out


def _fill(draw: Draw, out: Message, field: Fd, known: Sequence[str], depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _fill_map(draw, out, field, known)
    elif field.is_repeated:
        _fill_list(draw, getattr(out, field.name), field, known, depth)
    elif field.message_type is not None:
        if depth:
            inner = draw(messages(field.message_type, known, depth - 1))
            getattr(out, field.name).CopyFrom(inner)
    else:
        setattr(out, field.name, draw(values(field, known)))


def _fill_map(draw: Draw, out: Message, field: Fd, known: Sequence[str]) -> None:
    entry: Any = field.message_type
    key, value = entry.fields
    there = getattr(out, field.name)
    for _ in range(draw(st.sampled_from((0, 1, 2)))):
        there[draw(values(key, known))] = draw(values(value, known))
    for number in range(draw(st.sampled_from((0, 0, 0, 0, 33, 65, 3_000)))):
        there[f"k{number}"] = draw(values(value, known)) if number < 2 else _least(value)


def _least(field: Fd) -> Any:
    return "v" if field.type == Fd.TYPE_STRING else 1


def _fill_list(draw: Draw, out: Any, field: Fd, known: Sequence[str], depth: int) -> None:
    if field.message_type is None:
        out.extend(draw(st.lists(values(field, known), max_size=3)))
        if field.type == Fd.TYPE_STRING:
            many = draw(st.sampled_from((0, 0, 0, 0, 65, 1_001, 10_001)))
            out.extend(f"m{number}" for number in range(many))
        return
    if not depth:
        return
    for _ in range(draw(st.integers(0, 2))):
        out.add().CopyFrom(draw(messages(field.message_type, known, depth - 1)))
    many = draw(st.sampled_from((0, 0, 0, 0, 0, 65, 1_001)))
    if many and len(out):
        out.extend([out[0]] * min(many, MOST_BYTES // max(1, out[0].ByteSize())))


def values(field: Fd, known: Sequence[str] = ()) -> st.SearchStrategy[Any]:
    """Any value of a field that is no message."""
    if field.type == Fd.TYPE_ENUM:
        # Numbers that no name belongs to are kept by proto3, and reach the broker.
        kind: Any = field.enum_type
        named = [value.number for value in kind.values]
        return st.sampled_from((*named, *named, 99, -1, 2**31 - 1))
    if field.type == Fd.TYPE_STRING:
        words = st.sampled_from((*known, *WORDS))
        return st.one_of(words, words, words, st.sampled_from(ODD), st.just(LONG))
    if field.type == Fd.TYPE_BYTES:
        return st.sampled_from(BYTES)
    return st.sampled_from(NUMBERS[field.type])


# -- good messages, spoiled ------------------------------------------------------------------


@st.composite
def spoiled(draw: Draw, good: Sequence[Message], known: Sequence[str] = ()) -> bytes:
    """A good message with up to three fields changed, or its bytes."""
    out = message_class(good[0].DESCRIPTOR)()
    out.CopyFrom(draw(st.sampled_from(list(good))))
    for _ in range(draw(st.sampled_from((1, 0, 1, 0, 2, 3)))):
        _spoil(draw, out, known)
    whole: bytes = out.SerializeToString()
    changed: bytes = draw(cut(whole))
    return changed


def _spoil(draw: Draw, message: Message, known: Sequence[str]) -> None:
    """Change one field, at any depth."""
    while True:
        fields = message.DESCRIPTOR.fields
        if not fields:
            return
        field = draw(st.sampled_from(list(fields)))
        inner = _inner(draw, message, field)
        if inner is None or not draw(st.integers(0, 3)):
            message.ClearField(field.name)
            _fill(draw, message, field, known, 2)
            return
        message = inner


def _inner(draw: Draw, message: Message, field: Fd) -> Message | None:
    """A message within, to go on in; None when there is none."""
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return None
    if not field.is_repeated:
        inner: Message = getattr(message, field.name)
        return inner if message.HasField(field.name) else None
    there = getattr(message, field.name)
    return draw(st.sampled_from(list(there))) if len(there) else None


@st.composite
def cut(draw: Draw, data: bytes) -> bytes:
    """The bytes, mostly whole; else cut, doubled, or with some changed."""
    how = draw(st.sampled_from(("whole",) * 16 + ("cut", "twice", "changed", "longer")))
    if how == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if how == "twice":
        return data + data
    if how == "longer":
        data += draw(st.binary(max_size=8))
    if how == "changed" and data:
        at = draw(st.integers(0, len(data) - 1))
        other: bytes = draw(st.binary(min_size=1, max_size=4))
        return data[:at] + other + data[at + 1 :]
    return data


garbage = st.one_of(
    st.binary(max_size=40), st.sampled_from((b"\x00", b"\x0a\xff", b"\x0a" * 600, b"\xff" * 4_096))
)
"""Bytes of no message."""


# -- as large as a message may be ------------------------------------------------------------


def paths(kind: Descriptor, depth: int = DEEP) -> list[tuple[Fd, ...]]:
    """The ways to all fields of a message that have no bound of their own: lists, maps, texts."""
    out: list[tuple[Fd, ...]] = []
    for field in kind.fields:
        if field.is_repeated or field.type in (Fd.TYPE_STRING, Fd.TYPE_BYTES):
            out.append((field,))
        if field.message_type is not None and depth:
            entry = field.message_type.GetOptions().map_entry
            if not entry:
                out += [(field, *rest) for rest in paths(field.message_type, depth - 1)]
    return out


def stuffed(good: Message, path: Sequence[Fd], size: int) -> bytes:
    """A good message whose field at the end of a path has about so many bytes, in small pieces."""
    out = message_class(good.DESCRIPTOR)()
    out.CopyFrom(good)
    inner: Any = out
    for field in path[:-1]:
        there = getattr(inner, field.name)
        inner = (there[0] if len(there) else there.add()) if field.is_repeated else there
        inner.SetInParent()
    _stuff(inner, path[-1], size)
    return out.SerializeToString()


def _stuff(message: Any, field: Fd, size: int) -> None:
    there = getattr(message, field.name)
    if not field.is_repeated:
        text = "x" * size
        setattr(message, field.name, text if field.type == Fd.TYPE_STRING else text.encode())
    elif field.message_type is None:
        there.extend(f"{at:x}" for at in range(size // 8))
    elif field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        for at in range(size // 12):
            there[f"{at:x}"] = _least(value)
    else:
        # Empty ones take two bytes each; those with a name of their own, a few more.
        name = next((f for f in field.message_type.fields if f.type == Fd.TYPE_STRING), None)
        for at in range(size // 12):
            one = there.add()
            if name is not None:
                setattr(one, name.name, f"{at:x}")
