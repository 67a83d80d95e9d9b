"""A broker of this version for programs of older ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.local_pool import LocalPool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LocalPool]:
    """Daemons in a folder of their own, all ended when the test is."""
    pool = LocalPool(tmp_path)
    yield pool
    pool.kill_all()
