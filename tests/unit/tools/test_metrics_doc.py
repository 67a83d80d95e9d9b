"""docs/metrics.md names the metrics that the daemons serve."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "metrics_doc.py"
PAGE = Path("docs") / "metrics.md"


def run(tool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tool), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of tool and page, so that the tool writes there."""
    for file in (TOOL, ROOT / PAGE):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir()
        shutil.copy(file, copy)
    return tmp_path


def test_the_page_is_current() -> None:
    result = run(TOOL, "--check")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_changed_page_is_told_and_made_anew_and_the_rest_stays(tree: Path) -> None:
    tool, page = tree / "tools" / TOOL.name, tree / PAGE
    whole = page.read_text(encoding="utf-8")
    for name in ("computepool_grants_total", "computepool_agent_doorbell_rings_total"):
        row = next(line for line in whole.splitlines() if line.startswith(f"| `{name}` |"))
        page.write_text(whole.replace(row + "\n", ""), encoding="utf-8")
        told = run(tool, "--check")
        assert told.returncode == 1
        assert told.stdout.startswith("docs/metrics.md is out of date; run ")
        assert row not in page.read_text(encoding="utf-8"), "--check writes nothing"
        assert run(tool).returncode == 0
        assert page.read_text(encoding="utf-8") == whole


def test_a_page_without_its_marks_is_left_as_it_is(tree: Path) -> None:
    page = tree / PAGE
    page.write_text("no marks\n", encoding="utf-8")
    result = run(tree / "tools" / TOOL.name)
    assert result.returncode == 1
    assert "must have the mark" in result.stdout
    assert page.read_text(encoding="utf-8") == "no marks\n"
