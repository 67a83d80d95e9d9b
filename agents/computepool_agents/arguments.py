"""The command line of computepool-agent: names, units and help of every knob.

May import config and misbehave. Pure but for what argparse does with --help and mistakes.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from computepool_agents import config, misbehave

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DESCRIPTION = """\
Reports what this server (--backend server) or a simulated region (--backend simulated) has to
the broker, decides which leases fit, and makes them real. Keeps what it holds in a journal.
Stops in good order on SIGTERM and Ctrl-C; leases stay. Exit codes: 0 stopped, 1 failed,
2 bad usage or configuration."""
_EPILOG = """\
Each setting can come from the environment: COMPUTEPOOL_ and the flag's name in capitals with
"_" for "-" (COMPUTEPOOL_STATE_DIR). The flag wins. Several values of --misbehave are separated
by blanks there."""

_COMMON = (
    ("backend", "NAME", "server: this machine; simulated: centers of a scenario. Required"),
    (
        "broker",
        "HOST:PORT,...",
        (
            "where brokers listen: one, or equal ones joined by commas; a name with several "
            "addresses stands for a broker at each, and is looked up anew when one fails; default "
            f"{config.DEFAULT_BROKER}"
        ),
    ),
    (
        "state-dir",
        "DIR",
        (
            "journal and grants, locked while the agent runs; default "
            "${XDG_STATE_HOME:-~/.local/state}/computepool/agent. A simulated center keeps its "
            "journal in DIR/<center>"
        ),
    ),
    (
        "ready-file",
        "PATH",
        (
            "written when every agent of the process has had a complete report answered: their "
            "names, one a line; removed at the start"
        ),
    ),
    (
        "metrics-listen",
        "HOST:PORT",
        "serve GET /metrics for Prometheus there; port 0 picks a free one; default off",
    ),
    ("metrics-ready-file", "PATH", "written with host:port when metrics are served"),
    ("insecure", "", "serve metrics on other addresses than loopback"),
    ("log-level", "LEVEL", f"{', '.join(config.LOG_LEVELS)}; default info"),
    ("log-format", "FORMAT", "json (one object a line, default) or console; on standard error"),
)
_SERVER = (
    ("name", "NAME", "the agent's name, unique in the pool; default the host's name"),
    ("center", "NAME", "where the server stands; default local"),
    ("region", "NAME", "where the center stands; default local"),
    ("role", "ROLE", "the region's role: core (default), support or receiver"),
    ("node-name", "NAME", "the node's name, unique in the pool; default the host's name"),
    ("disk-path", "PATH", "report the disk that this is on; default the state folder"),
    (
        "reserve-cpu-milli",
        "N",
        (
            "hold back for the system, in thousandths of a core; default 500 or 5 %% of all, "
            "whichever is more"
        ),
    ),
    ("reserve-memory-mib", "N", "hold back, in MiB; default 512 or 5 %%, whichever is more"),
    ("reserve-disk-mib", "N", "hold back, in MiB; default 1024 or 5 %%, whichever is more"),
)
_SIMULATED = (
    ("scenario", "FILE", "the region, as TOML; default the packaged jing-jin-ji.toml"),
    ("centers", "A,B", "centers to play, by name; default all"),
    ("seed", "N", "of all chance but network jitter; default the scenario's"),
    (
        "time-scale",
        "F",
        (
            "simulated seconds in a real one, 0.001 to 1000, for --tick-s, --churn-nodes and "
            "--misbehave; default 1"
        ),
    ),
    ("tick-s", "F", "foreign load changes every so many simulated seconds; default 10"),
    (
        "churn-nodes",
        "F",
        (
            "nodes of each center whose foreign load changes in a simulated second; default 1 %% "
            "of the center's nodes, at least one, in each tick"
        ),
    ),
    ("misbehave", "SWITCH", misbehave.HELP.replace("%", "%%")),
)


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> config.Given:
    """Read the command line; a mistake ends the process with code 2 and one line.

    Raises:
        ConfigError: A flag of the other backend was given.
    """
    values = vars(_parser().parse_args(arguments))
    flags = {flag.replace("_", "-"): texts for flag, texts in values.items() if texts}
    given = config.Given(flags, environ)
    other = {"server": _SIMULATED, "simulated": _SERVER}.get(given.text("backend"), ())
    for flag, _, _ in other:
        if flag in flags:
            raise given.error(flag, f"means nothing with --backend {given.text('backend')}")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="computepool-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for title, flags in (
        ("common", _COMMON),
        ("with --backend server", _SERVER),
        ("with --backend simulated", _SIMULATED),
    ):
        group = parser.add_argument_group(title)
        for flag, metavar, text in flags:
            if metavar:
                group.add_argument(f"--{flag}", metavar=metavar, help=text, action="append")
            else:
                group.add_argument(f"--{flag}", help=text, action="append_const", const="true")
    return parser
