"""Durations, sizes and amounts as people write and read them.

Pure; imports nothing of this package. Every `parse_*` raises `ValueError` with a
text that says what would be right.
"""

import re
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Final

YEAR_S: Final = 31_536_000
_LEAST_TTL_S: Final = 10
_DURATION_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(MiB|GiB|TiB|PiB)", re.IGNORECASE)
_CORES: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_SIZE_UNITS_MIB: Final = {"mib": 1, "gib": 1024, "tib": 1024**2, "pib": 1024**3}
_LARGEST: Final = 2**53
_GFLOPS_PER_P: Final = 1_000_000
_LARGEST_GFLOPS: Final = 10**12


def parse_duration_s(text: str) -> float:
    """Seconds of a duration such as 500ms, 30s, 10m, 2h, 1d or 1h30m; at most a year.

    Raises:
        ValueError: it is none of these.
    """
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: write 500ms, 30s, 10m, 2h, 1d or 1h30m")
    seconds = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
    if not 0 < seconds <= YEAR_S:
        raise ValueError(f"{text!r} is out of range: more than 0 and at most 365d")
    return seconds


def parse_whole_seconds(text: str) -> int:
    """Like `parse_duration_s`, for what the pool counts in whole seconds.

    Raises:
        ValueError: it is no duration, or none of whole seconds.
    """
    seconds = parse_duration_s(text)
    if seconds != int(seconds):
        raise ValueError(f"{text!r} is not a whole number of seconds")
    return int(seconds)


def parse_ttl_s(text: str) -> int:
    """Whole seconds of a time to live, in the range that brokers take.

    Raises:
        ValueError: it is no duration of whole seconds, or out of range.
    """
    seconds = parse_whole_seconds(text)
    if seconds < _LEAST_TTL_S:
        raise ValueError(f"{text!r} is out of range: {_LEAST_TTL_S}s to 365d")
    return seconds


def parse_mib(text: str) -> int:
    """MiB of a size such as 512MiB, 40GiB or 1.5TiB.

    Raises:
        ValueError: it is none of these, or no whole number of MiB.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write 512MiB, 40GiB or 1.5TiB")
    mib = Decimal(match[1]) * _SIZE_UNITS_MIB[match[2].lower()]
    return _whole(mib, text, "a whole number of MiB")


def parse_cpu_milli(text: str) -> int:
    """Thousandths of a core of a number of cores such as 4 or 0.5.

    Raises:
        ValueError: it is no number, or finer than a thousandth.
    """
    if _CORES.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no number of cores: write 4 or 0.5")
    return _whole(Decimal(text) * 1000, text, "in thousandths of a core")


def parse_count(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers within bounds.

    The parser raises `ValueError` for anything else.
    """

    def parse(text: str) -> int:
        digits = text.removeprefix("+")
        if not (digits.isascii() and digits.isdigit()) or not least <= int(digits[:19]) <= most:
            raise ValueError(f"{text!r} is no whole number from {least:,} to {most:,}")
        return int(digits)

    return parse


def parse_word(text: str, words: Sequence[str], what: str) -> str:
    """One of several words.

    Raises:
        ValueError: it is none of them; `what` names what they are.
    """
    if text not in words:
        raise ValueError(f"{text!r} is no {what}: write {', '.join(words[:-1])} or {words[-1]}")
    return text


def parse_power(text: str) -> int:
    """GFLOPS of a number of P such as 2, 0.5 or 12.25; 1 P are 10^6 GFLOPS.

    Raises:
        ValueError: it is no such number, or out of range.
    """
    if _CORES.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no number of P: write 2 or 0.5")
    gflops = Decimal(text) * _GFLOPS_PER_P
    if not 1 <= gflops <= _LARGEST_GFLOPS:
        raise ValueError(f"{text!r} is out of range: 0.000001 to 1000000 P")
    return int(gflops.to_integral_value(ROUND_CEILING))


def parse_pair(text: str, what: str) -> tuple[str, str]:
    """Name and value of `name=value`.

    Raises:
        ValueError: there is no "=" or no name; `what` names it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is no {what}: write name=value")
    return name, value


def parse_extra(text: str) -> tuple[str, int]:
    """Name and amount of an extra resource such as nvme_slot=2.

    Raises:
        ValueError: it has another form.
    """
    name, value = parse_pair(text, "extra")
    if not value.isascii() or not value.isdigit() or int(value) > _LARGEST:
        raise ValueError(f"{text!r} is no extra: write name=N with a whole number")
    return name, int(value)


def parse_contact(text: str) -> int:
    """Seconds of silence after which an agent stops the work; 0 for `keep`.

    Raises:
        ValueError: it is neither `keep` nor `stop-after:DURATION`.
    """
    if text == "keep":
        return 0
    word, _, duration = text.partition(":")
    if word != "stop-after" or not duration:
        raise ValueError(f"{text!r} is no contact term: write keep or stop-after:10m")
    seconds = parse_whole_seconds(duration)
    if seconds < 1:
        raise ValueError(f"{text!r} is out of range: at least stop-after:1s")
    return seconds


def _whole(number: Decimal, text: str, want: str) -> int:
    if number > _LARGEST or number != int(number):
        raise ValueError(f"{text!r} is out of range: it must be {want}, and not too large")
    return int(number)


def duration(milliseconds: int) -> str:
    """A length of time in its two largest units: "1h 5m", "12s", "0.3s"."""
    if milliseconds < 1000:  # noqa: PLR2004 - a second has a thousand of them
        return f"{milliseconds / 1000:.1f}s"
    seconds = milliseconds // 1000
    parts = []
    for unit, length_s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length_s)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def age(milliseconds: int) -> str:
    """An age in its largest unit: "4s", "12m"; "never" for -1."""
    if milliseconds < 0:
        return "never"
    return duration(milliseconds // 1000 * 1000).split()[0] if milliseconds >= 1000 else "0s"  # noqa: PLR2004 - see above


def thousandths(milli: int) -> str:
    """Devices or cores of their thousandths: "8", "0.5", "1,234.25"."""
    text = f"{Decimal(milli) / 1000:,.3f}"
    return text.rstrip("0").rstrip(".")


def cores(milli: int) -> str:
    """An amount of processor time: "4 cores", "1 core", "0.5 cores"."""
    return f"{thousandths(milli)} core{'s' * (milli != 1000)}"  # noqa: PLR2004 - one core


def size(mib: int) -> str:
    """An amount of memory or disk in the largest unit that leaves it readable."""
    number = Decimal(mib)
    for unit in ("MiB", "GiB", "TiB"):
        if number < 1024:  # noqa: PLR2004 - of each in the next
            return f"{_trimmed(number)} {unit}"
        number /= 1024
    return f"{_trimmed(number)} PiB"


def power(gflops: int) -> str:
    """P (10^15 calculations a second) of GFLOPS, with about four digits."""
    number = gflops / _GFLOPS_PER_P
    for limit, digits in ((10, 2), (1000, 1)):
        if number < limit:
            return _trimmed(Decimal(f"{number:.{digits}f}"))
    return f"{number:,.0f}"


def percent(part: int, whole: int) -> str:
    """`part` of `whole` in percent, with one digit; "-" of nothing."""
    return f"{100 * part / whole:.1f}" if whole else "-"


def missing(amount: int, resource: str) -> str:
    """What is missing of a resource, in the words of its unit."""
    if not resource:
        return "-"
    words = {
        "devices": lambda: f"{amount:,} device{'s' * (amount != 1)}",
        "device_milli": lambda: f"{thousandths(amount)} of a device",
        "cpu_milli": lambda: cores(amount),
        "memory_mib": lambda: f"{size(amount)} memory",
        "disk_mib": lambda: f"{size(amount)} disk",
        "parts": lambda: f"{amount:,} part{'s' * (amount != 1)}",
        "gflops": lambda: f"{power(amount)} P",
    }
    return words[resource]() if resource in words else f"{amount:,} {resource}"


def _trimmed(number: Decimal) -> str:
    text = f"{number:,.{2 if number < 10 else 1}f}"  # noqa: PLR2004 - where a digit more helps
    return text.rstrip("0").rstrip(".")
