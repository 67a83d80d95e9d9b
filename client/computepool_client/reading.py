"""How the keywords of `asking.Wanted` are read, each into its field of a `Spec`.

Pure. What cannot be meant is refused here, naming the keyword; whether an amount is in
its range is for the broker to say, which knows the ranges.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from math import isfinite
from typing import Final, TypeAlias

from computepool_client import errors
from computepool_client.cli import units
from computepool_client.values import Resources, Spec

Duration: TypeAlias = float | str | timedelta
"""Seconds, a text such as "10m" or "1h30m", or a timedelta."""

_INT32: Final = 2**31 - 1
_INT64: Final = 2**63 - 1


def spec(wanted: Mapping[str, object]) -> Spec:
    """The specification that keywords of `Wanted` say.

    Raises:
        InvalidRequestError: a value cannot be meant; `fields` names the keyword.
        KeyError: there is no such keyword.
    """
    given: dict[str, object] = {}
    for name, value in wanted.items():
        target, read = READERS[name]
        try:
            given[target] = read(value, name)
        except ValueError as error:
            raise errors.invalid(name, str(error)) from None
    amounts = {name: given.pop(name) for name in _AMOUNTS if name in given}
    return Spec(resources=Resources(**amounts), **given)  # type: ignore[arg-type] # by the readers


def seconds(value: Duration, name: str) -> float:
    """A length of time in seconds; zero and less are for the caller to judge.

    Raises:
        InvalidRequestError: it is none; names the keyword.
    """
    if isinstance(value, str):
        try:
            return units.parse_duration_s(value)
        except ValueError as error:
            raise errors.invalid(name, str(error)) from None
    found = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
        problem = f"{value!r} is no length of time: write 30, '10m' or a timedelta"
        raise errors.invalid(name, problem)
    return float(found)


def ttl_s(value: Duration | None) -> int:
    """A new TTL in whole seconds; 0 where none is given, which keeps the old one.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return 0 if value is None else _ttl(value, "ttl")
    except ValueError as error:
        raise errors.invalid("ttl", str(error)) from None


def text(value: object, name: str) -> str:
    """A text, which can be sent; `InvalidRequestError` naming the keyword otherwise."""
    if not isinstance(value, str):
        raise errors.invalid(name, f"{value!r} is no text")
    if not value.isascii() and value.encode(errors="ignore").decode() != value:
        raise errors.invalid(name, f"{value!r} has half a character")
    return value


def texts(value: object, name: str) -> dict[str, str]:
    """Texts by their names; errors as of `text`."""
    if not isinstance(value, Mapping):
        raise errors.invalid(name, f"{value!r} is no mapping of names to texts")
    return {text(key, name): text(each, name) for key, each in value.items()}


def _names(value: object, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (text(value, name),)
    if not isinstance(value, Sequence | set | frozenset):
        raise ValueError(f"{value!r} is no name and no list of names")  # noqa: TRY004 - see spec
    return tuple(text(each, name) for each in value)


def _whole(largest: int) -> Callable[[object, str], int]:
    def read(value: object, _: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is no whole number")  # noqa: TRY004 - see spec
        if not -largest <= value <= largest:
            raise ValueError(f"{value} is out of range")
        return value

    return read


def _number(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return Fraction(str(value))


def _share(value: object, _: str) -> int:
    milli = _number(value) * 1000
    if milli.denominator != 1 or not 0 < milli < 1000:  # noqa: PLR2004 - thousandths
        raise ValueError(f"{value!r} is no share: write 0.001 to 0.999, in thousandths")
    return int(milli)


def _cores(value: object, _: str) -> int:
    return units.parse_cpu_milli(value if isinstance(value, str) else f"{float(_number(value)):f}")


def _size(value: object, _: str) -> int:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no size: write '512MiB', '40GiB' or '1.5TiB'")  # noqa: TRY004 - see spec
    return units.parse_mib(value)


def _extras(value: object, name: str) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is no mapping of names to amounts")  # noqa: TRY004 - see spec
    whole = _whole(_INT64)
    return {text(key, name): whole(each, name) for key, each in value.items()}


def _spread(value: object, _: str) -> str:
    if value not in ("nodes", "centers", "regions"):
        raise ValueError(f"{value!r} is nothing to spread over: write nodes, centers or regions")
    return str(value)


def _power(value: object, _: str) -> int:
    return units.parse_power(f"{float(_number(value)):f}")


def _flag(value: object, _: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither True nor False")  # noqa: TRY004 - see spec
    return value


def _ttl(value: object, name: str) -> int:
    length_s = seconds(value, name)  # type: ignore[arg-type] # it checks the type itself
    if length_s != int(length_s) or not 0 < length_s <= units.YEAR_S:
        raise ValueError(f"{value!r} is out of range: whole seconds, 10 s to 365 days")
    return int(length_s)


def _contact(value: object, name: str) -> int | None:
    return units.parse_contact(text(value, name)) or None


_AMOUNTS: Final = ("cpu_milli", "memory_mib", "disk_mib", "extras")
# Keyword to the field of the Spec, or of its resources, and what reads it.
READERS: Final[Mapping[str, tuple[str, Callable[[object, str], object]]]] = {
    "gpus": ("gpus", _whole(_INT32)),
    "gpu_share": ("gpu_milli", _share),
    "cpu": ("cpu_milli", _cores),
    "memory": ("memory_mib", _size),
    "disk": ("disk_mib", _size),
    "extras": ("extras", _extras),
    "count": ("count", _whole(_INT32)),
    "model": ("models", _names),
    "min_gpu_memory": ("min_gpu_memory_mib", _size),
    "region": ("regions", _names),
    "center": ("centers", _names),
    "node_labels": ("node_labels", texts),
    "spread": ("spread", _spread),
    "max_skew": ("max_skew", _whole(_INT32)),
    "pflops": ("power_gflops", _power),
    "precision": ("precision", text),
    "mixed": ("mixed", _flag),
    "ttl": ("ttl_s", _ttl),
    "contact": ("stop_after_s", _contact),
}
