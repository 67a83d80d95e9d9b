"""docs/accelerators.md is what the catalogue makes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "accelerators_doc.py"


def run(tool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tool), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree of its own, so that the tool writes there."""
    tool = tmp_path / "tools" / TOOL.name
    tool.parent.mkdir()
    (tmp_path / "docs").mkdir()
    shutil.copy(TOOL, tool)
    return tool


def test_the_page_is_current() -> None:
    result = run(TOOL, "--check")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_missing_or_changed_page_is_told_and_made_anew(copy: Path) -> None:
    page = copy.parents[1] / "docs" / "accelerators.md"
    missing = run(copy, "--check")
    assert missing.returncode == 1
    assert missing.stdout.startswith("docs/accelerators.md is out of date; run ")
    assert not page.exists(), "--check writes nothing"
    assert run(copy).returncode == 0
    assert run(copy, "--check").returncode == 0
    page.write_text(page.read_text(encoding="utf-8").replace("312,000", "624,000"))
    assert run(copy, "--check").returncode == 1


def test_the_page_shows_rates_stand_ins_and_doubts() -> None:
    page = (ROOT / "docs" / "accelerators.md").read_text(encoding="utf-8")
    assert "| V100-SXM | 32,768 | 300 | 7,800 | 15,700 | (15,700) | 125,000 | (15,700) |" in page
    assert "| H20 * | 98,304 | 400 |" in page
    assert "| A800-PCIe * | 81,920 | - |" in page
