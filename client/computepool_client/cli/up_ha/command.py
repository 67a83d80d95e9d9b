"""`computepool up-ha`: the pool with all that keeps it alive, and a menu to break it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from computepool_client.cli import flags, units
from computepool_client.cli.exits import Exit
from computepool_client.cli.up.state_dir import default
from computepool_client.cli.up_ha import script


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and for how long."""

    state_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Where stores, journals and logs of this run are; without it computepool-ha in"
            " $XDG_STATE_HOME, or in ~/.local/state. What an earlier run left there is removed.",
        ),
    ] = None
    brokers: Annotated[
        int,
        typer.Option(
            min=1,
            max=9,
            metavar="N",
            help="How many brokers. So far a store is for one at a time: several take it from each"
            " other.",
        ),
    ] = 1
    replicas: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=5,
            metavar="N",
            show_default="2; 0 without sentinels",
            help="How many replicas the primary has. All but one of them must have what is"
            " acknowledged as durable: one server may always be missing.",
        ),
    ] = None
    sentinels: Annotated[
        int,
        typer.Option(
            min=0, max=7, metavar="N", help="How many sentinels; 0: one Redis, without replicas."
        ),
    ] = 3
    rate: Annotated[
        float, typer.Option(min=1, max=10_000, metavar="N", help="Calls a second of the load.")
    ] = 100.0
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
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", show_default="the scenario's", help="Seed of the simulation."
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
    for_: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="TIME",
            parser=flags.parser(script.seconds),
            show_default="until Ctrl-C",
            help="End after this long, counted from the start of the load (60, 60s, 5m).",
        ),
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a second, and for every event.")
    ] = False


@dataclass(frozen=True, slots=True)
class Harm:
    """What to break by itself; times count from the start of the load."""

    kill: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHO[@TIME]",
            show_default=False,
            help="kill -9 a broker, primary, replica, sentinel, agent, or a process by its name"
            " (broker-1, agent-server, ...). Repeatable, as the next three.",
        ),
    ] = None
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="WHO[@TIME]", show_default=False, help="SIGSTOP a process."),
    ] = None
    continue_: Annotated[
        list[str] | None,
        typer.Option("--continue", metavar="WHO[@TIME]", show_default=False, help="Let it go on."),
    ] = None
    restart: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHO[@TIME]",
            show_default=False,
            help="Start it again; one that runs ends in good order before.",
        ),
    ] = None
    after: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=flags.parser(script.seconds),
            show_default="10s",
            help="When to do what has no @TIME.",
        ),
    ] = 10.0
    cut: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=flags.parser(script.seconds),
            show_default=False,
            help="Cut the primary together with a broker off from all other processes.",
        ),
    ] = None
    heal: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=flags.parser(script.seconds),
            show_default=False,
            help="Make the network whole again.",
        ),
    ] = None
    flushall: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=flags.parser(script.seconds),
            show_default=False,
            help="Empty the store of the primary.",
        ),
    ] = None
    restart_after: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=flags.parser(script.seconds),
            show_default="never",
            help="Start what was killed, continue what was stopped, and heal the network by"
            " itself after this long.",
        ),
    ] = None


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "up-ha", "Run")(up_ha)


def up_ha(options: Options, harm: Harm) -> None:
    """Start brokers over a replicated Redis with sentinels and agents, and break what you like.

    A load creates, renews and releases allocations all the time, as its tenants
    would. Each second a line says how many calls were answered, how many failed,
    and whether anything acknowledged was lost or granted twice. Keys (or flags)
    kill, stop and cut off processes. Everything is new with each run.

    Ends with status 0, and with 1 when anything was ever lost or double.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when gRPC is loaded
    # Only this command needs what follows, and pays for it.
    from computepool_client.cli.up.voice import Voice  # noqa: PLC0415 - see above
    from computepool_client.cli.up_ha import run  # noqa: PLC0415 - see above
    from computepool_client.cli.up_ha.layout import Shape  # noqa: PLC0415 - see above

    shape = Shape(
        brokers=options.brokers,
        replicas=_replicas(options),
        sentinels=options.sentinels,
        scenario=options.scenario,
        seed=options.seed,
    )
    terms = run.Terms(
        root=(options.state_dir or default().with_name("computepool-ha")).expanduser().absolute(),
        shape=shape,
        rate=options.rate,
        start_within_s=options.start_timeout,
        for_s=options.for_,
        timed=_timed(harm),
        restart_after_s=harm.restart_after,
    )
    if not run.run(terms, Voice(as_json=options.as_json)):
        raise typer.Exit(Exit.FAILED)


def _replicas(options: Options) -> int:
    if options.replicas is None:
        return 2 if options.sentinels else 0
    if bool(options.replicas) != bool(options.sentinels):
        raise typer.BadParameter(
            "sentinels need a replica to fail over to, and replicas somebody who does it",
            param_hint="--replicas / --sentinels",
        )
    return options.replicas


def _timed(harm: Harm) -> list[script.Timed]:
    """What the flags say, by time."""
    many = {
        "kill": harm.kill,
        "stop": harm.stop,
        "continue": harm.continue_,
        "restart": harm.restart,
    }
    given: dict[str, list[tuple[str, float | None]]] = {}
    for what, texts in many.items():
        try:
            given[what] = [script.whom_and_when(text) for text in texts or ()]
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=f"--{what}") from None
    moments = {"cut": harm.cut, "heal": harm.heal, "flushall": harm.flushall}
    given |= {what: [("", at_s)] for what, at_s in moments.items() if at_s is not None}
    return script.schedule(given, harm.after)
