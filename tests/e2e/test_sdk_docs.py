"""The page about the SDK does what it says: its blocks run, in order, on a real pool."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import computepool_client

if TYPE_CHECKING:
    from support.caller import Caller
    from support.local_pool import LocalPool

PAGE = Path(__file__).parents[2] / "docs" / "sdk.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


async def test_every_block_of_the_page_runs(
    pool: LocalPool, caller: Caller, tmp_path: Path
) -> None:
    broker, region = pool.broker(), pool.region()
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 9
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks).replace("127.0.0.1:7600", pool.target))
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "took 8 instead" in ran.stdout
    assert "step 2 held for another" in ran.stdout
    assert [a for a in await caller.all(ended=False) if a.state < 3] == [], "nothing is left"


def test_the_page_names_every_error_and_every_keyword() -> None:
    from computepool_client import asking  # noqa: PLC0415 - loads what only this test needs

    text = PAGE.read_text()
    wanted = asking.Asked.__annotations__.keys() - {"spec"}
    assert [name for name in sorted(wanted) if f"`{name}`" not in text] == []
    errors = [name for name in computepool_client.__all__ if name.endswith("Error")]
    assert [name for name in errors if f"`{name}`" not in text] == []
