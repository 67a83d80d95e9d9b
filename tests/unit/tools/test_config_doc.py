"""docs/operations-basics.md names the settings that the broker has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "config_doc.py"
PAGE = Path("docs") / "operations-basics.md"


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


def test_every_flag_of_the_broker_is_in_the_table() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "computepool_broker.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    flags = {word.strip("[],") for word in told.split() if word.lstrip("[").startswith("--")}
    want = flags - {"--help", "--version", "--config"}
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert len(want) > 10
    assert [flag for flag in sorted(want) if f"| `{flag}` |" not in page] == []


def test_a_changed_page_is_told_and_made_anew_and_the_rest_stays(tree: Path) -> None:
    tool, page = tree / "tools" / TOOL.name, tree / PAGE
    whole = page.read_text(encoding="utf-8")
    row = next(line for line in whole.splitlines() if line.startswith("| `--warm-up-s` |"))
    page.write_text(whole.replace(row + "\n", ""), encoding="utf-8")
    told = run(tool, "--check")
    assert told.returncode == 1
    assert told.stdout.startswith("docs/operations-basics.md is out of date; run ")
    assert row not in page.read_text(encoding="utf-8"), "--check writes nothing"
    assert run(tool).returncode == 0
    assert page.read_text(encoding="utf-8") == whole


def test_a_page_without_its_marks_is_left_as_it_is(tree: Path) -> None:
    page = tree / PAGE
    page.write_text("no marks\n", encoding="utf-8")
    result = run(tree / "tools" / TOOL.name)
    assert result.returncode == 1
    assert "must have each of the marks" in result.stdout
    assert page.read_text(encoding="utf-8") == "no marks\n"
