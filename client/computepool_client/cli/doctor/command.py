"""`computepool doctor`: asks, looks and prints what is wrong, and what to do."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from computepool_client.cli import documents, exits, flags, screen, settings, units
from computepool_client.cli.doctor.findings import Finding, Verdict, fail
from computepool_client.cli.doctor.seen import Seen

if TYPE_CHECKING:
    from rich.text import Text

    from computepool_client.cli.documents import Json

_STYLES: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}
_PANEL: Final = "Connection and output"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    flags.command(app, "doctor", "Operate")(doctor)


def _store(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "embedded:")):
        raise ValueError(f"{text!r} is no store: write embedded:DIR or redis://HOST:PORT/DB")
    return text


@dataclass(frozen=True, slots=True)
class Options:
    """What to look at. Settings are looked up by the checks: bad ones are findings."""

    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            "-e",
            metavar="HOST:PORT[,...]",
            parser=flags.parser(settings.parse_endpoint),
            show_default="as of the other commands",
            help="The broker to look at; of several, joined by commas, each.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            parser=flags.parser(units.parse_duration_s),
            show_default="5s",
            help="Give up a call after this long.",
            rich_help_panel=_PANEL,
        ),
    ] = 5.0
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=_PANEL)
    ] = False
    state_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also look at a folder that a daemon is to keep its state in."
        ),
    ] = None
    store: Annotated[
        str | None,
        typer.Option(
            metavar="STORE",
            parser=flags.parser(_store),
            help="Also look at a broker's store: embedded:DIR or redis://HOST:PORT/DB.",
        ),
    ] = None


def doctor(options: Options) -> None:
    """Look for what is wrong with a set-up, and say what to do about it.

    Looks at the way to the broker, the pool and this machine. Every check is
    OK, WARN (it works, but somebody should look) or FAIL. Ends with status 0,
    or with 1 when a check failed. Changes nothing.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    endpoint, trouble = _endpoint(options.endpoint)
    seen = Seen()
    groups = [
        (_way_to(endpoint), [*trouble, *_way(endpoint, options.timeout_s, seen)]),
        ("pool", _pool(seen)),
        ("this machine", list(_machine(options, endpoint, seen))),
    ]
    if options.as_json:
        documents.dump(_document(endpoint, groups))
    else:
        _print(groups)
    if any(each.verdict is Verdict.FAIL for _, found in groups for each in found):
        raise typer.Exit(exits.Exit.FAILED)


def _endpoint(given: str | None) -> tuple[str, list[Finding]]:
    """The endpoint of a flag or of the settings, and what is wrong with these."""
    if given:
        return given, []
    try:
        return settings.endpoint(), []
    except settings.BadConfigError as error:
        found = fail(
            "settings", error.message, f"correct it; looking at {settings.DEFAULT_ENDPOINT}"
        )
        return settings.DEFAULT_ENDPOINT, [found]


def _way_to(endpoint: str) -> str:
    return f"way to the broker{'s' * (',' in endpoint)} at {endpoint}"


def _way(endpoint: str, timeout_s: float, seen: Seen) -> list[Finding]:
    from computepool_client.cli.doctor import brokers  # noqa: PLC0415 - only `doctor`

    found = brokers.way(endpoint.split(","), timeout_s, seen)
    return [*found, *brokers.judge(seen)]


def _pool(seen: Seen) -> list[Finding]:
    from computepool_client.cli.doctor.judge import judge  # noqa: PLC0415 - only `doctor`

    return judge(seen) if seen.view is not None else []


def _machine(options: Options, endpoint: str, seen: Seen) -> Iterator[Finding]:
    from computepool_client.cli.doctor import machine, reach  # noqa: PLC0415 - only `doctor`
    from computepool_client.cli.doctor.redis import redis_store  # noqa: PLC0415 - see above

    host, _ = reach.split(endpoint.split(",", maxsplit=1)[0])
    yield from machine.machine(host, len(seen.agents))
    if options.state_dir is not None:
        yield from machine.state_dir(options.state_dir.expanduser().absolute())
    store = options.store or ""
    if store.startswith("embedded:"):
        folder = Path(store.removeprefix("embedded:"))
        yield from machine.state_dir(folder.expanduser().absolute())
    elif store:
        yield from redis_store(store, options.timeout_s)


def _print(groups: list[tuple[str, list[Finding]]]) -> None:
    for name, found in groups:
        screen.say(name.capitalize(), "bold")
        if not found:
            screen.say("  not looked at: no broker has answered", "dim")
        for each in found:
            _print_one(each)
    screen.say(_summary([each for _, found in groups for each in found]))


def _print_one(finding: Finding) -> None:
    from rich.text import Text  # noqa: PLC0415 - only what prints pays for rich

    verdict = Text(f"  {finding.verdict:<5}", _STYLES[finding.verdict])
    what = Text(screen.clean(f"{finding.check}: {finding.what}"))
    _print_beside(verdict, what)
    if finding.todo:
        _print_beside(Text(" " * 9), Text(screen.clean(finding.todo)))


def _print_beside(head: "Text", text: "Text") -> None:
    """The text to the right of its head, also where it needs several lines."""
    console = screen.stdout()
    indent = head.cell_len
    for at, line in enumerate(text.wrap(console, max(console.width - indent, 20))):
        line.rstrip()
        console.print((head if at == 0 else head.blank_copy(" " * indent)) + line, soft_wrap=True)


def _summary(found: list[Finding]) -> str:
    counts = [(each, sum(one.verdict is each for one in found)) for each in Verdict]
    return ", ".join(f"{count} {verdict}" for verdict, count in counts) + "."


def _document(endpoint: str, groups: list[tuple[str, list[Finding]]]) -> "dict[str, Json]":
    findings: list[Json] = [
        {
            "group": ("broker", "pool", "machine")[number],
            "check": each.check,
            "verdict": str(each.verdict),
            "what": each.what,
            "todo": each.todo,
        }
        for number, (_, found) in enumerate(groups)
        for each in found
    ]
    failed = any(each.verdict is Verdict.FAIL for _, found in groups for each in found)
    return {"endpoint": endpoint, "healthy": not failed, "findings": findings}
