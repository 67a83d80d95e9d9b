"""A scripted broker for the tests of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.scripted_broker import ScriptedBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def broker() -> AsyncIterator[ScriptedBroker]:
    """A broker by simple rules, on a port of its own."""
    async with ScriptedBroker() as broker:
        yield broker
