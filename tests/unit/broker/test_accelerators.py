"""The catalogue of accelerators: complete, dense, sourced, and found by any of its names."""

from __future__ import annotations

import dataclasses

import pytest

from computepool_broker.errors import InvalidArgumentError
from computepool_broker.model.accelerators import (
    PRECISIONS,
    Accelerator,
    CatalogueError,
    UnknownPrecisionError,
    catalogue,
    parse,
)

EVERY = pytest.mark.parametrize("row", catalogue().accelerators, ids=lambda row: row.model)

ROW = """
[[accelerators]]
model = "X1"
vendor = "Maker"
memory_mib = 1024
tdp_w = 100
peak_gflops = { fp32 = 1_000, fp16 = 4_000 }
aliases = ["Maker X1"]
source = "Data sheet, https://example.org/x1"
confidence = "vendor"
"""

DENSE_FP16 = {
    "A100-SXM": 312_000,
    "A100-SXM-40GB": 312_000,
    "A100-PCIe": 312_000,
    "A800": 312_000,
    "H100-SXM": 989_400,
    "H100-PCIe": 756_000,
    "H800": 989_400,
    "H20": 148_000,
    "H200": 989_500,
    "B200": 2_250_000,
    "L20": 119_500,
    "L40S": 362_050,
    "L4": 121_000,
    "V100-SXM": 125_000,
    "T4": 65_000,
    "RTX-4090": 165_200,
    "MI300X": 1_307_400,
    "Ascend-910B3": 313_000,
}


@pytest.mark.parametrize(("model", "want"), DENSE_FP16.items())
def test_fp16_is_the_dense_matrix_rate(model: str, want: int) -> None:
    assert catalogue().peak_gflops(model, "fp16") == want
    assert catalogue().peak_gflops(model) == want, "fp16 is the default"


@EVERY
def test_every_row_says_where_its_figures_are_published(row: Accelerator) -> None:
    title, comma, address = row.source.rpartition(", http")
    assert title
    assert comma
    assert "." in address


@EVERY
def test_every_row_can_count_in_the_default_precision(row: Accelerator) -> None:
    assert "fp16" in row.gflops


@EVERY
def test_no_row_mixes_dense_and_sparse_rates(row: Accelerator) -> None:
    """On matrix units a precision of half the width runs twice as fast, not four times."""
    rates = row.gflops
    if "fp8" in rates:
        assert 1.99 <= rates["fp8"] / rates["fp16"] <= 2.03
    if "bf16" in rates:
        assert rates["bf16"] == rates["fp16"]
    # Where fp16 adds up in fp32 at half rate, int8 is four times fp16: a GeForce.
    if "int8" in rates and row.model != "RTX-4090":
        assert 1.99 <= rates["int8"] / rates["fp16"] <= 2.7
    if rates.get("tf32", 0) > rates.get("fp32", 0):
        assert 1.97 <= rates["fp16"] / rates["tf32"] <= 2.05


@EVERY
def test_every_name_of_a_row_finds_it(row: Accelerator) -> None:
    for name in (row.model, row.model.upper(), *row.aliases, *(a.lower() for a in row.aliases)):
        assert catalogue().find(name) is row


def test_names_are_unique_over_all_rows() -> None:
    names = [
        name.casefold() for row in catalogue().accelerators for name in {row.model, *row.aliases}
    ]
    assert len(names) == len(set(names))


def test_a_driver_name_counts_as_its_model() -> None:
    assert catalogue().peak_gflops("NVIDIA H100 80GB HBM3", "bf16") == 989_400


def test_an_unknown_model_is_not_found_and_counts_nothing() -> None:
    assert catalogue().find("Abacus-9") is None
    assert catalogue().peak_gflops("Abacus-9") == 0
    assert catalogue().peak_gflops("") == 0


@pytest.mark.parametrize("precision", ["", "FP16", "fp4", "x" * 10_000])
@pytest.mark.parametrize("model", ["A100-SXM", "Abacus-9"])
def test_an_unknown_precision_is_refused_whatever_the_model(model: str, precision: str) -> None:
    with pytest.raises(UnknownPrecisionError, match=r"^precision: must be one of fp64") as caught:
        catalogue().peak_gflops(model, precision)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, InvalidArgumentError)
    assert caught.value.field == "precision"
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("model", "precision", "stand_in"),
    [
        ("V100-SXM", "bf16", "fp32"),
        ("T4", "tf32", "fp32"),
        ("A100-SXM", "fp8", "fp16"),
        ("V100-SXM", "int8", "fp16"),
    ],
)
def test_a_missing_precision_counts_as_the_next_wider_one(
    model: str, precision: str, stand_in: str
) -> None:
    row = catalogue().find(model)
    assert row is not None
    assert precision not in row.gflops
    assert row.peak_gflops(precision) == row.gflops[stand_in]


@EVERY
def test_a_stand_in_is_never_faster_than_what_the_device_does_natively(row: Accelerator) -> None:
    for precision in set(PRECISIONS) - set(row.gflops):
        assert row.peak_gflops(precision) <= max(row.gflops.values())


def test_without_any_stand_in_a_precision_counts_nothing() -> None:
    assert catalogue().peak_gflops("Ascend-910B", "fp64") == 0


def test_the_catalogue_cannot_be_changed() -> None:
    row = catalogue().accelerators[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.memory_mib = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        row.gflops["fp16"] = 1  # type: ignore[index]


def test_a_row_without_a_power_figure_is_good() -> None:
    (row,) = parse(ROW.replace("tdp_w = 100\n", "")).accelerators
    assert row.tdp_w is None


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        ('model = "X1"', "", "accelerators[0].model: must be a text"),
        ("memory_mib = 1024", "memory_mib = 0", "accelerators[0].memory_mib: must be an integer"),
        ("tdp_w = 100", "tdp_w = true", "accelerators[0].tdp_w: must be an integer above 0"),
        ("fp16 = 4_000", "fp16 = 4.5", "accelerators[0].peak_gflops.fp16: must be an integer"),
        ("fp16 = 4_000", "fp4 = 4_000", "accelerators[0].peak_gflops.fp4: is no precision"),
        ("{ fp32 = 1_000, fp16 = 4_000 }", "{}", "accelerators[0].peak_gflops: must be a table"),
        ('["Maker X1"]', '"Maker X1"', "accelerators[0].aliases: must be a list of texts"),
        ('"vendor"', '"hearsay"', "accelerators[0].confidence: must be one of vendor, secondary"),
        ("tdp_w = 100", "watts = 100", "accelerators[0].watts: is unknown"),
        ("[[accelerators]]", "[accelerators]", "accelerators: must be an array of tables"),
        ("[[accelerators]]", "[[accelerators]", "the table of accelerators is not TOML"),
    ],
)
def test_a_damaged_row_is_refused_by_field(old: str, new: str, want: str) -> None:
    assert old in ROW
    with pytest.raises(CatalogueError) as caught:
        parse(ROW.replace(old, new, 1))
    assert str(caught.value).startswith(want)


def test_a_name_of_two_models_is_refused() -> None:
    with pytest.raises(CatalogueError, match="X2: 'maker x1' names another model too"):
        parse(ROW + ROW.replace('"X1"', '"X2"').replace('"Maker X1"', '"maker x1"'))
