"""The command's own tests do not depend on the terminal that they run in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.scripted_services import ScriptedServices

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
