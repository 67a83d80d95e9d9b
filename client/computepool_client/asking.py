"""What a program asks for, in its own words, made into a `Spec`.

Pure. Words that cannot be meant are refused here, naming the keyword; whether an
amount is in its range is for the broker to say, which knows the ranges.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, TypedDict

from computepool_client import errors
from computepool_client.reading import READERS, Duration, seconds, spec, text, texts
from computepool_client.values import Spec

Names: TypeAlias = str | Sequence[str]
"""One name, or several."""
Wait: TypeAlias = Literal["active", "reserved"]
Ack: TypeAlias = Literal["committed", "durable", "confirmed"]
StoreAck: TypeAlias = Literal["committed", "durable"]
"""What a release can be acknowledged at: there is nothing for agents to confirm."""
OnLost: TypeAlias = Callable[[errors.LeaseLostError], object]


class Wanted(TypedDict, total=False):
    """What each part needs, how many there are, and where they may be.

    gpus: whole devices of one model on one node. gpu_share: a share of one device
    (0.25) instead. cpu: cores (4, 0.5). memory, disk, min_gpu_memory: such as
    "64GiB". extras: amounts of named things. count: equal parts, all or nothing.
    model, region, center: one name or several that will do. node_labels: what a node
    must carry. spread: over "nodes", "centers" or "regions", with max_skew.
    pflops: power in P instead of a number of devices, at a precision ("fp16");
    mixed allows several models. ttl: how long it lasts without renewal. contact:
    "keep" or "stop-after:10m", when agents lose the broker.
    """

    gpus: int
    gpu_share: float
    cpu: float | str
    memory: str
    disk: str
    extras: Mapping[str, int]
    count: int
    model: Names
    min_gpu_memory: str
    region: Names
    center: Names
    node_labels: Mapping[str, str]
    spread: Literal["nodes", "centers", "regions"]
    max_skew: int
    pflops: float
    precision: str
    mixed: bool
    ttl: Duration
    contact: str


class Place(Wanted, total=False):
    """What can be previewed and explained.

    spec: instead of all that `Wanted` names, such as a `NearestFit.spec`.
    """

    spec: Spec


class Told(TypedDict, total=False):
    """What goes with an allocation besides what it needs.

    tenant: whose it is. request_id: repeating it gives the same allocation, never
    a second; made afresh where it is not given.
    """

    tenant: str
    description: str
    labels: Mapping[str, str]
    request_id: str


class One(Place, Told, total=False):
    """One of many: `allocate_many([{"gpus": 4}, {"cpu": 2}])`."""


class Waiting(TypedDict, total=False):
    """How long to wait for what.

    wait: for "active" (all agents have admitted it) or "reserved" (the grant is in
    the broker's store). ack: what the answer must guarantee: "committed" (in the
    store), "durable" (on its disk, and on as many replicas as the broker is set to)
    or "confirmed" (durable and active); what the broker is set to if not given.
    timeout: give up after this long. wait_for_room: ask again for this long while
    there is no room, besides. on_lost: called once, from the thread or the loop that
    renews, when the lease is lost.
    """

    wait: Wait
    ack: Ack
    timeout: Duration
    wait_for_room: Duration
    on_lost: OnLost


class Asked(One, Waiting, total=False):
    """All that `allocate` takes; see the classes that it is made of."""


@dataclass(frozen=True, slots=True)
class Order:
    """One checked request for an allocation.

    Attributes:
        own_id: the request_id was made here: nobody else can ask for it again.
    """

    spec: Spec
    request_id: str
    own_id: bool
    tenant: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, checked; a timeout of None is the pool's own."""

    wait: Wait
    timeout_s: float | None
    room_s: float
    on_lost: OnLost | None
    ack: Ack | None = None


def patience(waiting: Mapping[str, Any]) -> Patience:
    """Checks the keywords of `Waiting` among others.

    Raises:
        InvalidRequestError: a value cannot be meant; `fields` names the keyword.
    """
    wait, on_lost = waiting.get("wait", "active"), waiting.get("on_lost")
    if wait not in ("active", "reserved"):
        raise errors.invalid("wait", f"{wait!r} is neither 'active' nor 'reserved'")
    if on_lost is not None and not callable(on_lost):
        raise errors.invalid("on_lost", f"{on_lost!r} cannot be called")
    timeout = waiting.get("timeout")
    return Patience(
        wait,
        None if timeout is None else seconds(timeout, "timeout"),
        max(0.0, seconds(waiting.get("wait_for_room", 0), "wait_for_room")),
        on_lost,
        _ack(waiting.get("ack"), wait),
    )


def store_ack(value: object) -> StoreAck | None:
    """Checks the level of a release; None is what the broker is set to.

    Raises:
        InvalidRequestError: see `patience`.
    """
    if value is None or value == "committed" or value == "durable":  # noqa: PLR1714 - narrows
        return value
    raise errors.invalid("ack", f"{value!r} is neither 'committed' nor 'durable'")


def _ack(value: object, wait: Wait) -> Ack | None:
    if value == "confirmed":
        if wait == "reserved":
            raise errors.invalid("ack", "'confirmed' waits for 'active': leave wait out")
        return value
    if value is None or value == "committed" or value == "durable":  # noqa: PLR1714 - narrows
        return value
    raise errors.invalid("ack", f"{value!r} is none of 'committed', 'durable' and 'confirmed'")


def order(one: Mapping[str, Any]) -> Order:
    """Checks all that makes one allocation, the keywords of `One`; skips those of `Waiting`.

    Raises:
        InvalidRequestError: a value cannot be meant; `fields` names the keyword.
        TypeError: there is no such keyword.
    """
    request_id = text(one.get("request_id", ""), "request_id")
    wanted = {name: value for name, value in one.items() if name in Place.__annotations__}
    unknown = sorted(one.keys() - Asked.__annotations__.keys())
    if unknown:
        raise TypeError(f"there is no keyword {unknown[0]!r}{_meant(unknown[0])}")
    return Order(
        spec=place(wanted),
        request_id=request_id or uuid.uuid4().hex,
        own_id=not request_id,
        tenant=text(one.get("tenant", ""), "tenant"),
        description=text(one.get("description", ""), "description"),
        labels=texts(one.get("labels", {}), "labels"),
    )


def orders(many: Sequence[Mapping[str, Any]]) -> list[Order]:
    """Checks many; see `order`."""
    found = []
    for index, one in enumerate(many):
        waiting = sorted(one.keys() & Waiting.__annotations__.keys())
        if waiting:
            raise TypeError(f"{waiting[0]!r} is said of all requests together, not of one")
        try:
            found.append(order(one))
        except errors.InvalidRequestError as error:
            first = error.fields[0]
            raise errors.invalid(f"requests[{index}].{first.field}", first.description) from None
    return found


def subject(what: str | errors.NoRoomError | None, wanted: Mapping[str, Any]) -> str | Spec:
    """What to explain: an allocation, what was refused, or what keywords say.

    Raises:
        TypeError: it is not exactly one of them.
        InvalidRequestError: as `order`.
    """
    if (what is None) != bool(wanted):
        raise TypeError("name an allocation, give an error, or say what is wanted: one of them")
    if isinstance(what, errors.NoRoomError):
        if what.spec is None:
            raise TypeError("this error does not know what was asked for")
        return what.spec
    return place(wanted) if what is None else text(what, "allocation")


def place(wanted: Mapping[str, Any]) -> Spec:
    """The specification that keywords of `Place` say; errors as of `order`."""
    rest = {name: value for name, value in wanted.items() if name != "spec"}
    for name in rest.keys() - READERS.keys():
        raise TypeError(f"there is no keyword {name!r}{_meant(name)}")
    if "spec" not in wanted:
        return spec(rest)
    if rest:
        raise errors.invalid("spec", f"says all that {min(rest)!r} could say: give one of them")
    if not isinstance(wanted["spec"], Spec):
        raise errors.invalid("spec", f"{wanted['spec']!r} is no Spec")
    return wanted["spec"]


def _meant(name: str) -> str:
    close = get_close_matches(name, Asked.__annotations__, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
