"""What accelerators can do at most, for accounting in P: the catalogue of models.

Allocation is in devices, accounting in P: 10^15 operations a second, at the dense peak of the
device's model in one precision (fp16 unless asked otherwise). A model that the catalogue lacks
can be allocated and counts 0 P.

A precision that a device lacks counts at the rate of the next wider one that it has and that
holds all values of the missing one exactly, since that is how such work runs there: bf16 on a
V100 counts as fp32, fp8 on an A100 as fp16. So fp16 never stands in for bf16, nor the other way
round: neither holds the other.

May import the broker's errors and the standard library. Pure, but for reading the packaged table
once.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

from computepool_broker.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GFLOPS_PER_P = 1_000_000
"""1 P is 10^15 operations a second, 1 GFLOPS 10^9."""

DEFAULT_PRECISION = "fp16"

STAND_INS: dict[str, tuple[str, ...]] = {
    "fp64": (),
    "fp32": ("fp64",),
    "tf32": ("fp32", "fp64"),
    "fp16": ("tf32", "fp32", "fp64"),
    "bf16": ("tf32", "fp32", "fp64"),
    "fp8": ("fp16", "bf16", "tf32", "fp32", "fp64"),
    "int8": ("fp16", "bf16", "tf32", "fp32", "fp64"),
}
"""By precision: what stands in for it on a device without it, narrowest first."""

PRECISIONS = tuple(STAND_INS)

CONFIDENCES = ("vendor", "secondary")


class UnknownPrecisionError(InvalidArgumentError, ValueError):
    """The catalogue has no such precision."""

    def __init__(self, precision: str) -> None:
        super().__init__(
            "precision", f"must be one of {', '.join(PRECISIONS)}, not {precision[:32]!a}"
        )


class CatalogueError(ValueError):
    """The table of accelerators is damaged; the text names row and field."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One model.

    Attributes:
        model: the spelling that agents should report ("H100-SXM").
        vendor: who makes it.
        memory_mib: nominal memory, in MiB.
        tdp_w: thermal design power, in watts; None when no source states it.
        gflops: dense peak by precision, in 10^9 operations a second.
        aliases: other names that it is reported by.
        source: title and address of where the figures are published.
        confidence: "vendor" or "secondary", by who publishes them.
    """

    model: str
    vendor: str
    memory_mib: int
    tdp_w: int | None
    gflops: Mapping[str, int]
    aliases: tuple[str, ...]
    source: str
    confidence: str

    def peak_gflops(self, precision: str) -> int:
        """Return the dense peak in a precision or its stand-in; 0 when it has neither.

        Raises:
            UnknownPrecisionError: there is no such precision.
        """
        if precision not in STAND_INS:
            raise UnknownPrecisionError(precision)
        for name in (precision, *STAND_INS[precision]):
            if name in self.gflops:
                return self.gflops[name]
        return 0


class Catalogue:
    """All known models, found by name or alias without regard to case.

    Attributes:
        accelerators: in the order of the table.
    """

    def __init__(self, accelerators: Iterable[Accelerator]) -> None:
        """Index the models.

        Raises:
            CatalogueError: two of them share a name.
        """
        self.accelerators = tuple(accelerators)
        self._by_name: dict[str, Accelerator] = {}
        for accelerator in self.accelerators:
            for name in (accelerator.model, *accelerator.aliases):
                if self._by_name.setdefault(name.casefold(), accelerator) is not accelerator:
                    raise CatalogueError(f"{accelerator.model}: {name!r} names another model too")

    def find(self, model: str) -> Accelerator | None:
        """Return the model of a name or alias, or None."""
        return self._by_name.get(model.casefold())

    def peak_gflops(self, model: str, precision: str = DEFAULT_PRECISION) -> int:
        """Return a model's dense peak in 10^9 operations a second; 0 for an unknown model.

        Raises:
            UnknownPrecisionError: there is no such precision, whatever the model.
        """
        if precision not in STAND_INS:
            raise UnknownPrecisionError(precision)
        accelerator = self.find(model)
        return accelerator.peak_gflops(precision) if accelerator else 0


@functools.cache
def catalogue() -> Catalogue:
    """Return the packaged catalogue; read once."""
    table = resources.files("computepool_broker.model").joinpath("accelerators.toml")
    return parse(table.read_text(encoding="utf-8"))


def parse(text: str) -> Catalogue:
    """Return the catalogue in a table.

    Args:
        text: TOML, an array of tables `accelerators`; the packaged one explains its fields.

    Raises:
        CatalogueError: it is no TOML, or a row is damaged.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"the table of accelerators is not TOML: {error}") from error
    rows = document.get("accelerators")
    if not isinstance(rows, list) or not rows:
        raise CatalogueError("accelerators: must be an array of tables with at least one")
    return Catalogue(_row(row, f"accelerators[{index}]") for index, row in enumerate(rows))


def _row(row: object, where: str) -> Accelerator:
    if not isinstance(row, dict):
        raise CatalogueError(f"{where}: must be a table")
    values: dict[str, object] = dict(row)
    accelerator = Accelerator(
        model=_text(values, "model", where),
        vendor=_text(values, "vendor", where),
        memory_mib=_positive(values.pop("memory_mib", None), f"{where}.memory_mib"),
        tdp_w=_positive(values.pop("tdp_w"), f"{where}.tdp_w") if "tdp_w" in values else None,
        gflops=MappingProxyType(_gflops(values.pop("peak_gflops", None), f"{where}.peak_gflops")),
        aliases=_aliases(values.pop("aliases", None), f"{where}.aliases"),
        source=_text(values, "source", where),
        confidence=_text(values, "confidence", where),
    )
    if accelerator.confidence not in CONFIDENCES:
        raise CatalogueError(f"{where}.confidence: must be one of {', '.join(CONFIDENCES)}")
    if values:
        raise CatalogueError(f"{where}.{min(values)}: is unknown")
    return accelerator


def _text(values: dict[str, object], key: str, where: str) -> str:
    value = values.pop(key, None)
    if not isinstance(value, str) or not value:
        raise CatalogueError(f"{where}.{key}: must be a text")
    return value


def _positive(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise CatalogueError(f"{where}: must be an integer above 0")
    return value


def _gflops(value: object, where: str) -> dict[str, int]:
    if not isinstance(value, dict) or not value:
        raise CatalogueError(f"{where}: must be a table with at least one precision")
    if unknown := set(value) - set(PRECISIONS):
        raise CatalogueError(f"{where}.{min(unknown)}: is no precision")
    return {key: _positive(value[key], f"{where}.{key}") for key in PRECISIONS if key in value}


def _aliases(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise CatalogueError(f"{where}: must be a list of texts")
    return tuple(value)
