"""A seed for each test; see support.pool_fixtures."""

from __future__ import annotations

from support.pool_fixtures import seed

__all__ = ["seed"]
