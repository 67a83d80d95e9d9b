"""computepool-agent: starts the process, turns errors into one line and an exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from computepool_agents import arguments
from computepool_agents.backends.base import BackendError
from computepool_agents.config import Config, ConfigError, make_config
from computepool_agents.journal import JournalError
from computepool_agents.link import RejectedError
from computepool_agents.logs import make_log
from computepool_agents.report import ReportTooLargeError
from computepool_agents.scenario import ScenarioError
from computepool_agents.state_dir import StateDirError
from computepool_agents.wiring import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

DONE, FAILED, USAGE = 0, 1, 2
_ADVICE = {
    "SESSION_STALE": "the broker has seen a later session of this journal: is it an old copy?",
    "AGENT_NAME_TAKEN": "another journal speaks under this name: choose another --name, or wait "
    "until the broker has lost the other agent and forget it there",
    "PROTOCOL_UNSUPPORTED": "agent and broker do not speak the same protocol: update one",
    "EPOCH_IMPLAUSIBLE": "the journal is from another pool or damaged: use another --state-dir",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until it is told to stop.

    Args:
        argv: Arguments; None takes the process's own.

    Returns:
        The exit code: 0 stopped, 1 failed, 2 bad usage or configuration.
    """
    try:
        config = make_config(arguments.parse(sys.argv[1:] if argv is None else argv, os.environ))
    except ConfigError as error:
        return _complain(str(error))
    log = make_log(config.log_level, config.log_format)
    try:
        asyncio.run(_run(config, log))
    except Exception as error:  # noqa: BLE001 - the edge of the process: one line, never a trace
        return max(_say_why(log, leaf) for leaf in _leaves(error))
    return DONE


async def _run(config: Config, log: FilteringBoundLogger) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Process(config, log).run(stop)


def _complain(text: str) -> int:
    sys.stderr.write(f"computepool-agent: error: {text}\n")
    return USAGE


def _leaves(error: Exception) -> list[Exception]:
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves(each)]


def _say_why(log: FilteringBoundLogger, error: Exception) -> int:
    """Tell a person what is wrong, in a line; gives the exit code."""
    if isinstance(error, ConfigError | ScenarioError):
        return _complain(str(error))
    if isinstance(error, RejectedError):
        log.error("the broker rejects this agent", why=str(error), advice=_ADVICE.get(error.reason))
    elif isinstance(error, StateDirError | JournalError | BackendError | ReportTooLargeError):
        log.error("the agent cannot go on", why=str(error))
    else:
        log.error("this is a bug in the agent", exc_info=error)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
