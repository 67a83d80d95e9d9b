"""A seed for each test, see support.pool_fixtures; every fault by itself only on demand."""

from __future__ import annotations

import os

from support.pool_fixtures import seed

__all__ = ["seed"]

collect_ignore = [] if os.environ.get("COMPUTEPOOL_EACH_FAULT") else ["test_each_fault.py"]
