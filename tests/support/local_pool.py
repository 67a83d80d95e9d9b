"""A pool of real daemons on this machine, with short intervals; stops all that it started."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.processes import Daemon, free_port, program

SMALL = Path(__file__).with_name("small.toml")
"""Three centers in three regions; 12 nodes with 8 devices each, used by nobody else."""
CENTERS = ("core-a", "support-a", "receiver-a")
DEVICES = 96

FAST = {
    "report-interval-s": "0.3",
    "disconnected-after-s": "1",
    "lost-after-s": "2",
    "warm-up-s": "10",
    "admit-timeout-s": "10",
    "tick-ms": "50",
    "audit-interval-s": "1",
}


class LocalPool:
    """Builds the daemons of one pool, which share a broker's address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = f"127.0.0.1:{free_port()}"
        self.store = folder / "store"
        self.daemons: list[Daemon] = []

    def broker(self, name: str = "broker", **settings: str) -> Daemon:
        """A broker with short intervals; `settings` are flags with "_" for "-"."""
        flags = FAST | {"listen": self.target, "store": f"embedded:{self.store}"}
        flags |= {key.replace("_", "-"): value for key, value in settings.items()}
        return self._daemon(name, "computepool-broker", flags)

    def region(
        self, *centers: str, name: str = "region", misbehave: tuple[str, ...] = (), **settings: str
    ) -> Daemon:
        """Simulated centers in one process; all of the small scenario unless some are named."""
        flags = {
            "backend": "simulated",
            "broker": self.target,
            "state-dir": str(self.folder / f"{name}.state"),
            "scenario": str(SMALL),
            "centers": ",".join(centers or CENTERS),
        } | {key.replace("_", "-"): value for key, value in settings.items()}
        daemon = self._daemon(name, "computepool-agent", flags)
        for switch in misbehave:
            daemon.command += ["--misbehave", switch]
        return daemon

    def server(self, name: str = "server", **settings: str) -> Daemon:
        """An agent for this very machine; a started lease has a file under `grants(name)`."""
        flags = {
            "backend": "server",
            "broker": self.target,
            "state-dir": str(self.folder / f"{name}.state"),
            "name": name,
            "node-name": f"{name}-node",
            "center": f"{name}-center",
            "region": "local",
        } | {key.replace("_", "-"): value for key, value in settings.items()}
        return self._daemon(name, "computepool-agent", flags)

    def up(self, name: str = "up") -> Daemon:
        """A whole pool as one command; it speaks in JSON lines, and has no ready file."""
        flags = {"listen": self.target, "state-dir": str(self.folder / "up.state")}
        flags |= {"scenario": str(SMALL), "start-timeout": "60s"}
        arguments = [text for key, value in flags.items() for text in (f"--{key}", value)]
        command = [program("computepool"), "up", "--json", *arguments]
        daemon = Daemon(name, command, self.folder, ready_file=False)
        self.daemons.append(daemon)
        return daemon

    def grants(self, name: str = "server") -> set[str]:
        """Allocations whose work runs at a server agent, by its own grant files."""
        files = (self.folder / f"{name}.state" / "grants").glob("*.env")
        return {path.name.removesuffix(".env").rsplit(".", 2)[0] for path in files}

    def keep_store(self, where: str) -> Path:
        """Copy the store of a stopped broker and give the copy's place."""
        copy = self.folder / where
        shutil.copytree(self.store, copy)
        return copy

    def lose_store(self) -> None:
        """Delete the files of a stopped broker's store."""
        shutil.rmtree(self.store)

    def restore_store(self, copy: Path) -> None:
        """Put an older copy in the place of a stopped broker's store."""
        self.lose_store()
        shutil.copytree(copy, self.store)

    def kill_all(self) -> None:
        """End everything at once, paused or not."""
        for daemon in self.daemons:
            daemon.kill()

    def _daemon(self, name: str, command: str, flags: dict[str, str]) -> Daemon:
        arguments = [text for key, value in flags.items() for text in (f"--{key}", value)]
        daemon = Daemon(name, [program(command), *arguments], self.folder)
        self.daemons.append(daemon)
        return daemon
