"""Durations, sizes and amounts as people write and read them."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool_client.cli import units

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "want"),
    [("500ms", 0.5), ("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1h30m", 5400)],
)
def test_a_duration_is_read(text: str, want: float) -> None:
    assert units.parse_duration_s(text) == want


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1x", "10 m", "0s", "366d", "1h x", "\u0661s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|out of range"):
        units.parse_duration_s(text)


def test_a_ttl_has_whole_seconds() -> None:
    with pytest.raises(ValueError, match="whole number of seconds"):
        units.parse_whole_seconds("1500ms")


@pytest.mark.parametrize(
    ("text", "want"), [("512MiB", 512), ("40GiB", 40960), ("1.5tib", 1572864), ("1 GiB", 1024)]
)
def test_a_size_is_read_in_mib(text: str, want: int) -> None:
    assert units.parse_mib(text) == want


@pytest.mark.parametrize("text", ["40", "40GB", "0.3MiB", "-1GiB", "1e3GiB", "99999999999999PiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|out of range"):
        units.parse_mib(text)


@pytest.mark.parametrize(("text", "want"), [("4", 4000), ("0.5", 500), ("0.001", 1)])
def test_cores_are_read_in_thousandths(text: str, want: int) -> None:
    assert units.parse_cpu_milli(text) == want


@pytest.mark.parametrize("text", ["", "four", "-1", "0.0001", "NaN", "1e30", "9" * 40])
def test_what_is_no_number_of_cores_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cores|out of range"):
        units.parse_cpu_milli(text)


@pytest.mark.parametrize(("text", "want"), [("keep", 0), ("stop-after:10m", 600)])
def test_a_contact_term_is_read(text: str, want: int) -> None:
    assert units.parse_contact(text) == want


@pytest.mark.parametrize("text", ["", "stop-after", "stop-after:", "stop-after:1ms", "replace:1m"])
def test_what_is_no_contact_term_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"contact term|duration|seconds"):
        units.parse_contact(text)


@pytest.mark.parametrize(
    "text", ["a", "=1", "a=", "a=-1", "a=1.5", "a=\u00b2", "a=9999999999999999999"]
)
def test_what_is_no_extra_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no extra"):
        units.parse_extra(text)


@given(st.text())
def test_no_text_makes_a_parser_fail_otherwise(text: str) -> None:
    parsers: list[Callable[[str], object]] = [
        units.parse_duration_s,
        units.parse_whole_seconds,
        units.parse_mib,
        units.parse_cpu_milli,
        units.parse_extra,
        units.parse_contact,
    ]
    for parse in parsers:
        try:
            parse(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - that nothing else is raised is the point


@pytest.mark.parametrize(
    ("ms", "want"),
    [(0, "0.0s"), (300, "0.3s"), (12_000, "12s"), (3_900_000, "1h 5m"), (86_400_000, "1d"),
     (3_601_000, "1h")],
)  # fmt: skip
def test_a_length_of_time_is_written_in_two_units(ms: int, want: str) -> None:
    assert units.duration(ms) == want


@pytest.mark.parametrize(
    ("ms", "want"), [(-1, "never"), (0, "0s"), (999, "0s"), (4200, "4s"), (125_000, "2m")]
)
def test_an_age_is_written_in_one_unit(ms: int, want: str) -> None:
    assert units.age(ms) == want


@pytest.mark.parametrize(
    ("milli", "want"),
    [(0, "0"), (8000, "8"), (500, "0.5"), (1_234_250, "1,234.25"), (10_000, "10"), (-1, "-0.001")],
)
def test_thousandths_are_written_without_needless_digits(milli: int, want: str) -> None:
    assert units.thousandths(milli) == want


@given(st.integers(0, 10**12))
def test_thousandths_come_back_from_what_is_written(milli: int) -> None:
    assert units.parse_cpu_milli(units.thousandths(milli).replace(",", "")) == milli


@pytest.mark.parametrize(
    ("gflops", "want"),
    [(312_000, "0.31"), (20_480_000, "20.5"), (12_000_000_000, "12,000"), (100_000_000, "100")],
)
def test_power_is_written_with_a_few_digits(gflops: int, want: str) -> None:
    assert units.power(gflops) == want


@pytest.mark.parametrize(
    ("mib", "want"), [(0, "0 MiB"), (512, "512 MiB"), (40960, "40 GiB"), (1536 * 1024, "1.5 TiB")]
)
def test_a_size_is_written_in_a_readable_unit(mib: int, want: str) -> None:
    assert units.size(mib) == want


@pytest.mark.parametrize(
    ("amount", "resource", "want"),
    [
        (2, "devices", "2 devices"),
        (1, "devices", "1 device"),
        (250, "device_milli", "0.25 of a device"),
        (1500, "cpu_milli", "1.5 cores"),
        (2048, "memory_mib", "2 GiB memory"),
        (3, "nvme_slot", "3 nvme_slot"),
        (0, "", "-"),
    ],
)
def test_what_is_missing_is_told_in_its_unit(amount: int, resource: str, want: str) -> None:
    assert units.missing(amount, resource) == want
