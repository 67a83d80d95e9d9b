"""Generate Python from protos/, or with --check say whether that would change anything."""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"


def generate(out: Path) -> None:
    """Write the generated modules of every .proto below `out`."""
    sources = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.rglob("*.proto"))
    bin_dir = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTOS}",
            f"--plugin=protoc-gen-mypy_grpc={bin_dir / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out=quiet:{out}",
            *sources,
        ],
        check=True,
    )


def main() -> int:
    """Return 0, or 1 when --check finds the checked-in code out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    if not parser.parse_args().check:
        generate(PROTOS)
        return 0
    with tempfile.TemporaryDirectory() as tmp:
        generate(Path(tmp))
        made = {p.relative_to(tmp) for p in Path(tmp).rglob("*_pb2*")}
        kept = {p.relative_to(PROTOS) for p in PROTOS.rglob("*_pb2*.py*") if p.suffix != ".pyc"}
        stale = sorted(
            str(p)
            for p in made | kept
            if p not in made
            or p not in kept
            or not filecmp.cmp(Path(tmp) / p, PROTOS / p, shallow=False)
        )
    for path in stale:
        print(f"protos: {path} is out of date; run `make protos`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
