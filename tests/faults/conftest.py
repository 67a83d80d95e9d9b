"""A pool of real processes for each test, and a small disk that can be filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.pool_fixtures import caller, pool, pytest_runtest_makereport, seed
from support.small_disk import SmallDisk, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["caller", "disk", "pool", "pytest_runtest_makereport", "seed"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of its own, of 24 MiB, for what the test fills."""
    with small_disk(tmp_path / "disk", 24) as disk:
        yield disk
