"""A pool of real processes for each test; its logs go into the report of a failure."""

from __future__ import annotations

from support.pool_fixtures import caller, pool, pytest_runtest_makereport, seed

__all__ = ["caller", "pool", "pytest_runtest_makereport", "seed"]
