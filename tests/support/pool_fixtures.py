"""What tests with a pool of real processes share; a conftest of theirs imports it by name."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from support.caller import Caller
from support.local_pool import LocalPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from pathlib import Path


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LocalPool]:
    """Daemons in a folder of their own, all ended when the test is."""
    pool = LocalPool(tmp_path)
    yield pool
    pool.kill_all()


@pytest.fixture
async def caller(pool: LocalPool) -> AsyncIterator[Caller]:
    """A connection to the pool's broker, also through its restarts."""
    async with Caller(pool.target) as caller:
        yield caller


@pytest.fixture
def seed() -> str:
    """Of all chance in a test; printed, and taken from COMPUTEPOOL_TEST_SEED to repeat one."""
    seed = os.environ.get("COMPUTEPOOL_TEST_SEED") or f"{random.SystemRandom().getrandbits(32):08x}"
    print(f"COMPUTEPOOL_TEST_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return seed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of every daemon's log to the report of a failed test."""
    report = yield
    pool = getattr(item, "funcargs", {}).get("pool")
    if report.failed and isinstance(pool, LocalPool):
        for daemon in pool.daemons:
            report.sections.append((f"log of {daemon.name} (code {daemon.code})", daemon.tail()))
    return report
