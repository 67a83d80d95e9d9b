"""Grants on a bare server: one environment file per started lease.

May import model, state_dir and the generated protos. Touches the disk.

A launcher (a job script, a systemd unit with EnvironmentFile=, `env $(cat FILE)`) reads
`<state-dir>/grants/<lease_id>.env` and runs the work with it; the file is there exactly as
long as the lease is started. (At the agent's start the folder is made to agree with the
journal, so nothing here needs an fsync.) It names only this lease's devices; CUDA sees no
others:

    COMPUTEPOOL_LEASE, COMPUTEPOOL_ALLOCATION, COMPUTEPOOL_NODE    names
    COMPUTEPOOL_CPU_MILLI, _MEMORY_MIB, _DISK_MIB                  amounts granted
    COMPUTEPOOL_DEVICES                                            id=thousandths, by comma
    CUDA_VISIBLE_DEVICES, NVIDIA_VISIBLE_DEVICES                   ids, by comma; may be empty
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_agents.model import STARTED
from computepool_agents.state_dir import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from computepool.v1 import types_pb2 as types
    from computepool_agents.model import Held

FOLDER_NAME = "grants"
SUFFIX = ".env"


def grant_text(record: types.LeaseRecord) -> str:
    """Give the content of a lease's file; equal records give equal texts."""
    ids = ",".join(share.device_id for share in record.devices)
    lines = {
        "COMPUTEPOOL_LEASE": record.lease_id,
        "COMPUTEPOOL_ALLOCATION": record.allocation_id,
        "COMPUTEPOOL_NODE": record.node,
        "COMPUTEPOOL_CPU_MILLI": record.resources.cpu_milli,
        "COMPUTEPOOL_MEMORY_MIB": record.resources.memory_mib,
        "COMPUTEPOOL_DISK_MIB": record.resources.disk_mib,
        "COMPUTEPOOL_DEVICES": ",".join(f"{s.device_id}={s.milli}" for s in record.devices),
        "CUDA_VISIBLE_DEVICES": ids,
        "NVIDIA_VISIBLE_DEVICES": ids,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


class Grants:
    """The folder of the files. All methods raise OSError where the disk does."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER_NAME

    def adopt(self, held: Iterable[Held]) -> None:
        """Make the folder hold the files of the started leases and no others."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        started = {lease.lease_id: lease for lease in held if lease.state == STARTED}
        for path in self._folder.iterdir():
            if path.name.removesuffix(SUFFIX) not in started:
                path.unlink()
        for lease in started.values():
            self.write(lease.record)

    def write(self, record: types.LeaseRecord) -> None:
        """Write a lease's file, whole or not at all; one that is there stays as it is.

        So what runs already can be started again on a full disk.
        """
        if not self._has(record):
            write_atomically(self._path(record), grant_text(record), mode=0o600)

    def _has(self, record: types.LeaseRecord) -> bool:
        try:
            return self._path(record).read_text(encoding="utf-8") == grant_text(record)
        except FileNotFoundError:
            return False

    def remove(self, record: types.LeaseRecord) -> None:
        """Remove a lease's file; it need not be there."""
        self._path(record).unlink(missing_ok=True)

    def _path(self, record: types.LeaseRecord) -> Path:
        # Admission has checked that the id is a plain name.
        return self._folder / f"{record.lease_id}{SUFFIX}"
