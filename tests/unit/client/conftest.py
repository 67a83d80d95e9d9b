"""The command's own tests do not depend on the terminal that they run in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2
from computepool_client import Pool
from fakes.scripted_services import ScriptedServices
from support.sdk_kit import grants, renewals

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_terminal_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set a width; pytest-xdist does."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServices]:
    """A server with scripted answers, which the command finds by its environment."""
    with ScriptedServices() as running:
        monkeypatch.setenv("COMPUTEPOOL_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
def granting() -> Iterator[ScriptedServices]:
    """A server that grants, renews and releases whatever it is asked for."""
    with ScriptedServices() as running:
        running.script("CreateAllocation", grants())
        running.script("BatchReleaseAllocations", allocation_pb2.BatchReleaseAllocationsResponse())
        running.script("BatchRenewAllocations", renewals())
        yield running


@pytest.fixture
def pool(granting: ScriptedServices) -> Iterator[Pool]:
    """The SDK's pool over that server."""
    with Pool(granting.endpoint, timeout=10) as made:
        yield made
