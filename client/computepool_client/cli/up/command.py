"""`computepool up`: starts a whole pool on this machine and stays with it."""

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from computepool_client import errors
from computepool_client.cli import flags, units
from computepool_client.cli.connection import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from computepool.v1 import inventory_pb2
    from computepool_client.cli.up.pool import Pool
    from computepool_client.cli.up.stopping import Stopping
    from computepool_client.cli.up.voice import Voice

_LOOK_EVERY_S = 1.0
_LOOPBACK = ("localhost", "[::1]")
_LAST_PORT = 65535


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "up", "Run")(up)


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= _LAST_PORT):
        raise ValueError(f"{text!r} is no HOST:PORT; port 0 picks a free one")
    if host not in _LOOPBACK and not host.startswith("127."):
        raise ValueError(
            f"{host!r} is not of this machine alone: `up` listens on 127.0.0.1, localhost or [::1];"
            " to serve others, start computepool-broker yourself"
        )
    return text


def _metrics(text: str) -> str:
    return "" if text == "off" else _listen(text)


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and where."""

    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="COMPUTEPOOL_STATE_DIR",
            metavar="DIR",
            show_default=False,
            help="Where the ledger, the journals of the agents and the logs are kept; without it"
            " computepool in $XDG_STATE_HOME, or in ~/.local/state.",
        ),
    ] = None
    listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            parser=flags.parser(_listen),
            help="Where the broker serves, on this machine only; port 0 picks a free one.",
        ),
    ] = DEFAULT_ENDPOINT
    metrics_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            parser=flags.parser(_metrics),
            help="Where the broker serves metrics for Prometheus, on this machine only; port 0"
            " picks a free one, off serves none.",
        ),
    ] = "127.0.0.1:0"
    scenario: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            show_default="the packaged region",
            help="The region to simulate beside this machine.",
        ),
    ] = None
    simulation: Annotated[
        bool, typer.Option("--simulation/--no-simulation", help="Simulate a region.")
    ] = True
    server_agent: Annotated[
        bool,
        typer.Option("--server-agent/--no-server-agent", help="Bring this machine into the pool."),
    ] = True
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            show_default="the scenario's",
            help="Seed of the simulation: equal seeds simulate alike.",
        ),
    ] = None
    start_timeout: Annotated[
        float,
        typer.Option(
            metavar="DURATION",
            parser=flags.parser(units.parse_duration_s),
            show_default="2m",
            help="Give up when not all agents have reported within this time (30s, 2m).",
        ),
    ] = 120.0
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line for every event.")
    ] = False


def up(options: Options) -> None:
    """Start a whole pool here: a broker, an agent for this machine, a simulated region.

    Shows the view once all have reported, then a line whenever something
    changes, until Ctrl-C stops everything in order. Started again with the same
    state folder, it finds its allocations. A daemon that dies is started again.
    Ends with status 6 when a pool already runs from the folder.
    """
    from computepool_client.cli.up.pool import Plan, Pool  # noqa: PLC0415 - only `up` needs it
    from computepool_client.cli.up.state_dir import StateDir, default  # noqa: PLC0415 - see above
    from computepool_client.cli.up.stopping import Stopping  # noqa: PLC0415 - see above
    from computepool_client.cli.up.voice import Voice  # noqa: PLC0415 - see above

    _check(options)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    state = StateDir((options.state_dir or default()).expanduser().absolute())
    state.make()
    state.lock()  # held until this process ends
    voice, stopping = Voice(as_json=options.as_json), Stopping()
    plan = Plan(
        listen=options.listen,
        metrics=options.metrics_listen,
        simulation=options.simulation,
        scenario=options.scenario,
        seed=options.seed,
        server_agent=options.server_agent,
        start_within_s=options.start_timeout,
    )
    pool = Pool(plan, state, voice, stopping)
    try:
        if pool.start():
            _stay(pool, voice, stopping, state.root)
    finally:
        try:
            voice.event("stopping", "stopping the agents, then the broker")
        finally:  # even where nobody reads our output any more
            pool.stop()
        voice.event("stopped", f"stopped; the state is kept in {state.root}")


def _check(options: Options) -> None:
    simulates = options.scenario is not None or options.seed is not None
    if simulates and not options.simulation:
        raise typer.BadParameter("excludes --scenario and --seed", param_hint="--no-simulation")
    if not options.simulation and not options.server_agent:
        raise typer.BadParameter(
            "together they leave no agent", param_hint="--no-simulation / --no-server-agent"
        )


def _stay(pool: "Pool", voice: "Voice", stopping: "Stopping", root: Path) -> None:
    """Shows the pool, then what changes, until a stop is asked for."""
    from computepool_client.cli.up.follow import Follower  # noqa: PLC0415 - see up()

    with pool.client() as client:
        follower = Follower(client, voice)
        follower.look()  # what changes from here on is told
        try:
            _greet(pool, voice, client.view(), root)
        except errors.PoolError as error:
            voice.event("broker_silent", f"the broker does not answer: {error.message}")
        while not stopping.wait(_LOOK_EVERY_S):
            pool.watch()
            follower.look()


def _greet(pool: "Pool", voice: "Voice", view: "inventory_pb2.GetViewResponse", root: Path) -> None:
    from computepool_client.cli import documents  # noqa: PLC0415 - see up()
    from computepool_client.cli.view import show  # noqa: PLC0415 - see up()

    if voice.as_json:
        text = f"the pool serves at {pool.endpoint}"
        more: dict[str, documents.Json] = {
            "endpoint": pool.endpoint,
            "metrics": pool.metrics,
            "view": documents.document(view),
        }
        voice.event("ready", text, more)
        return
    show(view)
    has_devices = any(center.models for region in view.regions for center in region.centers)
    wanted = "--gpus 1" if has_devices else "--cpu 1 --memory 1GiB"
    voice.plain("")
    voice.plain(f"The pool serves at {pool.endpoint}. Type in another terminal:")
    if shutil.which("computepool") is None:
        # Started by its path, as `make up` does: the other terminal would not find it.
        voice.whole(f"  export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    if pool.endpoint != DEFAULT_ENDPOINT:
        voice.whole(f"  export COMPUTEPOOL_ENDPOINT={pool.endpoint}")
    for line in ("view", "nodes --limit 10", f"allocate {wanted} --ttl 10m", "list", "--help"):
        voice.whole(f"  computepool {line}")
    if pool.metrics:
        voice.plain(f"Metrics for Prometheus are at {pool.metrics}.")
    voice.plain(f"State and logs are in {root}. Ctrl-C stops everything.")
    voice.plain("")
