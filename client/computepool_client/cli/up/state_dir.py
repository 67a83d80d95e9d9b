"""The folder that a whole pool keeps its state in, and the lock on it."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from computepool_client import errors

_LONGEST_PID = 20


def default() -> Path:
    """`$XDG_STATE_HOME/computepool`, or `~/.local/state/computepool`."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "computepool"


@dataclass(frozen=True, slots=True)
class StateDir:
    """Where everything lies: the broker's store, the agents' journals, logs.

    root/up.lock        locked while a pool runs; holds the process id of `up`
    root/broker/        the ledger
    root/agents/NAME/   the journals of an agent process
    root/logs/NAME.log  what the daemons say
    root/run/           files of this run only
    """

    root: Path

    def make(self) -> None:
        """Makes the folders, for this user only.

        Raises:
            PoolError: it cannot be done.
        """
        try:
            for folder in (self.root, self.logs, self.run, self.root / "agents"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise errors.PoolError(
                f"cannot make the state folder {self.root}: {error.strerror}", "STATE_DIR"
            ) from error

    @property
    def broker(self) -> Path:
        """The broker's store."""
        return self.root / "broker"

    @property
    def logs(self) -> Path:
        """Logs."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Files of this run."""
        return self.root / "run"

    def agent(self, name: str) -> Path:
        """The journals of an agent process."""
        return self.root / "agents" / name

    def lock(self) -> int:
        """Locks the folder for the life of this process; returns the open file.

        Raises:
            WrongStateError: another process holds it; the text names its id.
            PoolError: the lock file cannot be opened.
        """
        path = self.root / "up.lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.PoolError(f"cannot open {path}: {error.strerror}", "STATE_DIR") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, _LONGEST_PID).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise errors.WrongStateError(
                f"a pool already runs from {self.root} (process {holder});"
                " stop it, or choose another --state-dir",
                "STATE_DIR_LOCKED",
                {"pid": holder, "state_dir": str(self.root)},
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        return file
