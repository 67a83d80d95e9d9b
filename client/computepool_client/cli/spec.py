"""The flags that say what is wanted, and the specification that they make."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from computepool_client.cli import flags, units

if TYPE_CHECKING:
    from computepool.v1 import types_pb2

_Value = TypeVar("_Value")

_PART = "What each part needs (a part is placed on one node)"
_PLACE = "Where"
_TIME = "How long"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    gpus: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            metavar="N",
            rich_help_panel=_PART,
            help="Whole devices, all of one model, on one node: 0 to 64.",
        ),
    ] = 0
    gpu_milli: Annotated[
        int,
        typer.Option(
            min=0,
            max=999,
            metavar="N",
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
            min=1,
            max=1000,
            metavar="N",
            rich_help_panel=_PART,
            help="Equal parts, all or nothing: 1 to 1000.",
        ),
    ] = 1
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
            parser=flags.parser(units.parse_whole_seconds),
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
        str, typer.Option(metavar="NAME", help="Whose it is; at most 63 characters.")
    ] = "default"

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
            count=self.count,
            regions=self.region or (),
            centers=self.center or (),
            node_labels=pairs(self.node_label, "--node-label"),
            ttl_s=self.ttl,
            contact=self._contact(),
        )

    def _check(self) -> None:
        if self.gpus and self.gpu_milli:
            raise typer.BadParameter("give one of the two", param_hint="--gpus / --gpu-milli")
        if (self.model or self.min_gpu_memory) and not (self.gpus or self.gpu_milli):
            raise typer.BadParameter(
                "it needs --gpus or --gpu-milli", param_hint="--model / --min-gpu-memory"
            )
        if not any((self.gpus, self.gpu_milli, self.cpu, self.memory, self.disk, self.extra)):
            raise typer.BadParameter(
                "say what is wanted, such as --gpus 1 or --cpu 4",
                param_hint="--gpus / --gpu-milli / --cpu / --memory / --disk / --extra",
            )

    def _contact(self) -> "types_pb2.ContactTerm":
        from computepool.v1 import types_pb2  # noqa: PLC0415 - slow to import

        if self.contact:
            return types_pb2.ContactTerm(
                policy=types_pb2.CONTACT_POLICY_STOP_AFTER, after_s=self.contact
            )
        return types_pb2.ContactTerm(policy=types_pb2.CONTACT_POLICY_KEEP)


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
