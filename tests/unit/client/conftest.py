"""The command's own tests do not depend on the terminal that they run in."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_terminal_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set a width; pytest-xdist does."""
    monkeypatch.delenv("COLUMNS", raising=False)
