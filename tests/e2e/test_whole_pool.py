"""`computepool up` with its real daemons: start, a crash, a stop, a second start."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Generous: the machine may be busy; nothing waits this long when all is well.
WITHIN_S = 60.0
COMMAND = (sys.executable, "-m", "computepool_client.cli.main")
Event = dict[str, Any]


class Up:
    """A running `computepool up --json`, and the events that it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._events: queue.Queue[Event] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready = self.wait_for(lambda event: event["event"] == "ready")
        self.endpoint: str = ready["endpoint"]
        self.view: Event = ready["view"]

    def wait_for(self, wanted: Callable[[Event], bool]) -> Event:
        """The next event that is wanted; those before it are gone."""
        while True:
            event = self._events.get(timeout=WITHIN_S)
            if wanted(event):
                return event

    def command(self, *arguments: str) -> Event:
        """The JSON document that a command prints about this pool."""
        ran = subprocess.run(
            [*COMMAND, *arguments, "--json", "--endpoint", self.endpoint],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=True,
        )
        document: Event = json.loads(ran.stdout)
        return document

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))


@contextmanager
def up(state_dir: Path) -> Iterator[Up]:
    """A pool of this machine alone, stopped at the end as Ctrl-C does."""
    process = subprocess.Popen(
        [*COMMAND, "up", "--no-simulation", "--listen", "127.0.0.1:0", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COMPUTEPOOL_STATE_DIR": str(state_dir)},
    )
    try:
        running = Up(process)
        yield running
        process.send_signal(signal.SIGINT)
        running.wait_for(lambda event: event["event"] == "stopped")
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_pool_keeps_its_allocations_through_a_crash_and_a_restart(tmp_path: Path) -> None:
    with up(tmp_path) as pool:
        (center,) = pool.view["regions"][0]["centers"]
        assert (center["center"], center["agents_active"]) == ("local", 1)
        granted = pool.command("allocate", "--memory", "64MiB", "--description", "keep me")
        id_ = granted["allocation"]["id"]
        assert granted["allocation"]["state"] == "ALLOCATION_STATE_ACTIVE"
        pool.wait_for(lambda event: (event["event"], event.get("subject")) == ("granted", id_))

        refused = subprocess.run(
            [*COMMAND, "up", "--state-dir", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert refused.returncode == 6
        assert f"process {pool.process.pid}" in " ".join(refused.stderr.split())

        os.kill(broker_of(tmp_path), signal.SIGKILL)
        pool.wait_for(lambda event: event.get("child") == "broker" and "status" in event)
        pool.wait_for(lambda event: event["event"] == "broker_answers")
        assert pool.command("get", id_)["allocation"]["state"] == "ALLOCATION_STATE_ACTIVE"

    with up(tmp_path) as pool:
        (found,) = pool.command("list")["allocations"]
        assert (found["id"], found["description"]) == (id_, "keep me")
        assert pool.command("audit")["findings"] == []
        pool.command("release", id_)
        ended = pool.wait_for(lambda event: event["event"] == "ended")
        assert ended["text"] == f"{id_} is ENDED (RELEASED)"


def broker_of(state_dir: Path) -> int:
    """Process id of the broker that runs from a folder."""
    parent = (state_dir / "up.lock").read_text().strip()
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (broker,) = (
        int(child)
        for child in children
        if "computepool_broker.main" in Path(f"/proc/{child}/cmdline").read_text()
    )
    return broker


def test_a_start_that_fails_shows_the_log_and_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir(parents=True)
    (tmp_path / "broker").chmod(0o700)
    ran = subprocess.run(
        [*COMMAND, "up", "--no-simulation", "--state-dir", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
        # A setting that the broker refuses.
        env={**os.environ, "COMPUTEPOOL_TICK_MS": "nonsense"},
    )
    assert ran.returncode == 1
    error = json.loads(ran.stderr)["error"]
    assert error["reason"] == "START_FAILED"
    assert "nonsense" in error["message"]
    assert [json.loads(line)["event"] for line in ran.stdout.splitlines()][-1] == "stopped"
