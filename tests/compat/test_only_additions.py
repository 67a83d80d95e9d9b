"""The contract only grows: nothing of a released version is removed or changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELEASED = sorted((ROOT / "tests" / "compat").glob("recorded_*/contract.binpb"))
RULES = {
    "version": "v2",
    # Numbers that were reserved for what came later are used by it.
    "breaking": {"use": ["FILE"], "except": ["RESERVED_MESSAGE_NO_DELETE"]},
}


def breaking(protos: Path, released: Path) -> subprocess.CompletedProcess[str]:
    buf = Path(sys.executable).with_name("buf")
    return subprocess.run(
        [buf, "breaking", "--against", released, "--config", json.dumps(RULES)],
        cwd=protos,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.parent.name)
def test_nothing_of_a_released_contract_is_changed(released: Path) -> None:
    result = breaking(ROOT / "protos", released)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  repeated string flags = 16;", ""),
        ("  string etag = 8;", "  string tag = 8;"),
        ("  bool adopted = 15;", "  int64 adopted = 15;"),
        ("  rpc ListAllocations(ListAllocationsRequest) returns (ListAllocationsResponse);", ""),
        ("  ALLOCATION_STATE_ENDED = 4;", "  ALLOCATION_STATE_ENDED = 9;"),
    ],
)
def test_a_change_is_noticed(tmp_path: Path, old: str, new: str) -> None:
    protos = tmp_path / "protos"
    shutil.copytree(ROOT / "protos", protos)
    file = protos / "computepool" / "v1" / "allocation.proto"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    assert breaking(protos, RELEASED[0]).returncode != 0
