"""The flags that say what is wanted, and the specification that they make."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from computepool_client.cli import flags, settings, units
from computepool_client.cli.precision import PRECISIONS, parse_precision

if TYPE_CHECKING:
    from computepool.v1 import types_pb2

_Value = TypeVar("_Value")

OVERS: Final = ("nodes", "centers", "regions")
_PART = "What each part needs (a part is placed on one node)"
_POWER = "Computing power, instead of a number of devices"
_PLACE = "Where"
_TIME = "How long"


def _over(text: str) -> str:
    return units.parse_word(text, OVERS, "domain to spread over") if text else ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    gpus: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=flags.parser(units.parse_count(0, 64)),
            rich_help_panel=_PART,
            help="Whole devices, all of one model, on one node: 0 to 64.",
        ),
    ] = 0
    gpu_milli: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=flags.parser(units.parse_count(0, 999)),
            rich_help_panel=_PART,
            help="A share of one device in thousandths, 1 to 999; instead of --gpus.",
        ),
    ] = 0
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_PART,
            help="A model of device that will do, such as A100; may be repeated. Any, without.",
        ),
    ] = None
    min_gpu_memory: Annotated[
        int,
        typer.Option(
            metavar="SIZE",
            parser=flags.parser(units.parse_mib),
            show_default="any",
            rich_help_panel=_PART,
            help="Least memory of each device, such as 40GiB.",
        ),
    ] = 0
    cpu: Annotated[
        int,
        typer.Option(
            metavar="CORES",
            parser=flags.parser(units.parse_cpu_milli),
            show_default="0",
            rich_help_panel=_PART,
            help="Processor cores, such as 4 or 0.5.",
        ),
    ] = 0
    memory: Annotated[
        int,
        typer.Option(
            metavar="SIZE",
            parser=flags.parser(units.parse_mib),
            show_default="0",
            rich_help_panel=_PART,
            help="Main memory, such as 32GiB.",
        ),
    ] = 0
    disk: Annotated[
        int,
        typer.Option(
            metavar="SIZE",
            parser=flags.parser(units.parse_mib),
            show_default="0",
            rich_help_panel=_PART,
            help="Local disk, such as 100GiB.",
        ),
    ] = 0
    extra: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            rich_help_panel=_PART,
            help="An amount of an extra resource, in its own unit; may be repeated.",
        ),
    ] = None
    count: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=flags.parser(units.parse_count(1, 1_000)),
            rich_help_panel=_PART,
            help="Equal parts, all or nothing: 1 to 1000.",
        ),
    ] = 1
    pflops: Annotated[
        int,
        typer.Option(
            metavar="P",
            parser=flags.parser(units.parse_power),
            show_default=False,
            rich_help_panel=_POWER,
            help="Least peak power in P, 10^15 calculations a second, such as 2 or 0.5: filled with"
            " whole devices of the models allowed, at least overshoot. --cpu, --memory and --disk"
            " then count per device.",
        ),
    ] = 0
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=flags.parser(parse_precision),
            show_default="fp16",
            rich_help_panel=_POWER,
            help="Precision that --pflops counts: " + ", ".join(PRECISIONS) + ".",
        ),
    ] = ""
    mixed: Annotated[
        bool,
        typer.Option(
            "--mixed",
            rich_help_panel=_POWER,
            help="Put devices of several models together where that overshoots less.",
        ),
    ] = False
    spread: Annotated[
        str,
        typer.Option(
            metavar="OVER",
            parser=flags.parser(_over),
            show_default="do not spread",
            rich_help_panel=_PLACE,
            help="Spread the parts evenly over nodes, centers or regions.",
        ),
    ] = ""
    max_skew: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=flags.parser(units.parse_count(1, 1000)),
            show_default="1",
            rich_help_panel=_PLACE,
            help="With --spread: the fullest of them has at most so many parts more than the"
            " emptiest, 1 to 1000.",
        ),
    ] = None
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", rich_help_panel=_PLACE, help="A region allowed; may be repeated."
        ),
    ] = None
    center: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", rich_help_panel=_PLACE, help="A center allowed; may be repeated."
        ),
    ] = None
    node_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            rich_help_panel=_PLACE,
            help="A label that the node must carry; may be repeated.",
        ),
    ] = None
    ttl: Annotated[
        int,
        typer.Option(
            metavar="DURATION",
            parser=flags.parser(units.parse_ttl_s),
            show_default="1h",
            rich_help_panel=_TIME,
            help="Ends this long after the grant or the last renewal: 10s to 365d.",
        ),
    ] = 3600
    contact: Annotated[
        int,
        typer.Option(
            metavar="TERM",
            parser=flags.parser(units.parse_contact),
            show_default="keep",
            rich_help_panel=_TIME,
            help="When its agent loses the broker: keep (work goes on) or stop-after:10m.",
        ),
    ] = 0
    tenant: Annotated[
        str,
        typer.Option(
            envvar="COMPUTEPOOL_TENANT",
            metavar="NAME",
            parser=flags.parser(settings.parse_tenant),
            show_default='the config file\'s, else "default"',
            help="Whose it is; at most 63 characters.",
        ),
    ] = field(default_factory=settings.tenant)

    def message(self) -> "types_pb2.AllocationSpec":
        """The specification of the protocol.

        Raises:
            typer.BadParameter: two flags contradict each other, or one is malformed.
        """
        from computepool.v1 import types_pb2  # noqa: PLC0415 - slow to import

        self._check()
        part = types_pb2.PartSpec(
            resources=types_pb2.Resources(
                cpu_milli=self.cpu,
                memory_mib=self.memory,
                disk_mib=self.disk,
                extras=dict(_each(self.extra, units.parse_extra, "--extra")),
            ),
            devices=self.gpus,
            device_milli=self.gpu_milli,
            models=self.model or (),
            min_device_memory_mib=self.min_gpu_memory,
        )
        return types_pb2.AllocationSpec(
            part=part,
            # By power the broker says how many parts there will be.
            count=0 if self.pflops else self.count,
            regions=self.region or (),
            centers=self.center or (),
            node_labels=pairs(self.node_label, "--node-label"),
            ttl_s=self.ttl,
            contact=self._contact(),
            spread=self._spread(),
            power=self._power(),
        )

    @property
    def nothing(self) -> bool:
        """No flag says what, where or how long."""
        return self == Wanted(tenant=self.tenant)

    def _check(self) -> None:
        """Finds flags that contradict each other or are missing."""
        devices = self.gpus or self.gpu_milli or self.pflops
        anything = (devices, self.cpu, self.memory, self.disk, self.extra)
        _refuse(self.gpus and self.gpu_milli, "give one of the two", "--gpus / --gpu-milli")
        for given, flag in (
            (self.gpus, "--gpus"),
            (self.gpu_milli, "--gpu-milli"),
            (self.count > 1, "--count"),
            (self.spread, "--spread"),
        ):
            _refuse(self.pflops and given, "give one of the two", f"--pflops / {flag}")
        _refuse(
            (self.model or self.min_gpu_memory) and not devices,
            "it needs --gpus, --gpu-milli or --pflops",
            "--model / --min-gpu-memory",
        )
        _refuse(
            (self.precision or self.mixed) and not self.pflops,
            "it needs --pflops",
            "--precision / --mixed",
        )
        _refuse(self.max_skew is not None and not self.spread, "it needs --spread", "--max-skew")
        _refuse(
            not any(anything),
            "say what is wanted, such as --gpus 1 or --cpu 4",
            "--gpus / --gpu-milli / --pflops / --cpu / --memory / --disk / --extra",
        )

    def _spread(self) -> "types_pb2.Spread | None":
        from computepool.v1 import types_pb2  # noqa: PLC0415 - slow to import

        overs = {
            "nodes": types_pb2.SPREAD_OVER_NODES,
            "centers": types_pb2.SPREAD_OVER_CENTERS,
            "regions": types_pb2.SPREAD_OVER_REGIONS,
        }
        if not self.spread:
            return None
        return types_pb2.Spread(over=overs[self.spread], max_skew=self.max_skew or 0)

    def _power(self) -> "types_pb2.Power | None":
        from computepool.v1 import types_pb2  # noqa: PLC0415 - slow to import

        if not self.pflops:
            return None
        return types_pb2.Power(gflops=self.pflops, precision=self.precision, mixed=self.mixed)

    def _contact(self) -> "types_pb2.ContactTerm":
        from computepool.v1 import types_pb2  # noqa: PLC0415 - slow to import

        if self.contact:
            return types_pb2.ContactTerm(
                policy=types_pb2.CONTACT_POLICY_STOP_AFTER, after_s=self.contact
            )
        return types_pb2.ContactTerm(policy=types_pb2.CONTACT_POLICY_KEEP)


def _refuse(wrong: object, message: str, flag: str) -> None:
    if wrong:
        raise typer.BadParameter(message, param_hint=flag)


def pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    """`name=value` texts of a repeated flag as a mapping.

    Raises:
        typer.BadParameter: one is malformed, or a name comes twice.
    """
    return dict(_each(texts, lambda text: units.parse_pair(text, "label"), flag))


def _each(
    texts: list[str] | None, parse: Callable[[str], tuple[str, _Value]], flag: str
) -> Iterator[tuple[str, _Value]]:
    seen: set[str] = set()
    for text in texts or ():
        try:
            name, value = parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=flag) from None
        if name in seen:
            raise typer.BadParameter(f"{name!r} comes twice", param_hint=flag)
        seen.add(name)
        yield name, value
