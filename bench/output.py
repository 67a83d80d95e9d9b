"""What a bench prints: rows with a fixed set of keys, and facts about the machine.

Imports only the standard library and version numbers of installed packages.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        bench: Name of the bench.
        metric: Name of the figure.
        value: The figure, in `unit`.
        unit: Unit of `value` and `baseline`.
        baseline: What it is compared with; None where there is nothing.
        ratio: value / baseline; None without a baseline.
        params: Everything that somebody needs to judge or repeat it.
    """

    bench: str
    metric: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    params: dict[str, Any] = field(default_factory=dict)


class Output:
    """Prints rows on standard output and keeps them below bench/results."""

    def __init__(self, name: str) -> None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._file = RESULTS / f"{stamp}-{name}.jsonl"
        self._machine = machine()

    def emit(self, row: Row) -> None:
        """Print one row and append it to this run's file."""
        body = asdict(row)
        body["params"] = {**row.params, "machine": self._machine}
        line = json.dumps(rounded(body), ensure_ascii=False)
        print(line, flush=True)
        with self._file.open("a", encoding="utf-8") as out:
            out.write(line + "\n")


def remark(text: str) -> None:
    """Tell the person who watches, on standard error."""
    print(text, file=sys.stderr, flush=True)


def rounded(value: Any) -> Any:
    """Floats of a JSON-like value cut to five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def machine() -> dict[str, Any]:
    """The machine and the versions that a figure depends on."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in ("grpcio", "protobuf", "numpy")},
    }


def cpu_model() -> str:
    """Name of the processor as the kernel gives it, with family and model number."""
    wanted = {"model name": "", "cpu family": "", "model": ""}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in wanted and not wanted[key.strip()]:
            wanted[key.strip()] = value.strip()
    name, family, number = wanted.values()
    return f"{name or platform.machine()} (family {family}, model {number})"


def file_system(folder: Path) -> str:
    """Type of the file system that `folder` (which exists) is on."""
    here, best, kind = folder.resolve(), "", "unknown"
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, fs_type, *_ = line.split()
        if here.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, fs_type
    return kind
