"""What would fit is printed as flags: parsing them gives the very request that was planned."""

import shlex
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computepool.v1 import types_pb2
from computepool_client.cli import flags, spec_flags
from computepool_client.cli.spec import Wanted

NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._'\"$-]{0,20}", fullmatch=True)
LABEL = st.from_regex(r"[a-z][a-z0-9/.-]{0,10}", fullmatch=True)
AMOUNT = st.integers(1, 2**40)
OVERS = [
    types_pb2.SPREAD_OVER_NODES,
    types_pb2.SPREAD_OVER_CENTERS,
    types_pb2.SPREAD_OVER_REGIONS,
]
NAMES = st.lists(NAME, max_size=3, unique=True)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def specs(draw: st.DrawFn) -> types_pb2.AllocationSpec:
    """Any request that the flags can ask for, with its defaults said as the flags say them."""
    by = draw(st.sampled_from(["devices", "share", "power", "nothing"]))
    part = types_pb2.PartSpec(
        resources=types_pb2.Resources(
            cpu_milli=draw(AMOUNT),
            memory_mib=draw(maybe(AMOUNT)),
            disk_mib=draw(maybe(AMOUNT)),
            extras=draw(st.dictionaries(LABEL, AMOUNT, max_size=2)),
        ),
        devices=draw(st.integers(1, 64)) if by == "devices" else 0,
        device_milli=draw(st.integers(1, 999)) if by == "share" else 0,
        models=draw(NAMES) if by != "nothing" else (),
        min_device_memory_mib=draw(maybe(AMOUNT)) if by != "nothing" else 0,
    )
    spec = types_pb2.AllocationSpec(
        part=part,
        count=0 if by == "power" else draw(st.integers(1, 1000)),
        regions=draw(NAMES),
        centers=draw(NAMES),
        node_labels=draw(st.dictionaries(LABEL, NAME, max_size=2)),
        ttl_s=draw(st.integers(10, 31_536_000)),
        contact=draw(contacts()),
    )
    if by == "power":
        spec.power.gflops = draw(st.integers(1, 10**12))
        spec.power.precision = draw(st.sampled_from(["", "fp16", "int8"]))
        spec.power.mixed = draw(st.booleans())
    elif draw(st.booleans()):
        spec.spread.over = draw(st.sampled_from(OVERS))
        spec.spread.max_skew = draw(st.integers(0, 1000))
    return spec


@st.composite
def contacts(draw: st.DrawFn) -> types_pb2.ContactTerm:
    after_s = draw(maybe(st.integers(1, 31_536_000)))
    if after_s is None:
        return types_pb2.ContactTerm(policy=types_pb2.CONTACT_POLICY_KEEP)
    return types_pb2.ContactTerm(policy=types_pb2.CONTACT_POLICY_STOP_AFTER, after_s=after_s)


class Asked:
    """A command with the flags of a request, which keeps what it would ask for."""

    def __init__(self) -> None:
        self._found: list[types_pb2.AllocationSpec] = []
        app = typer.Typer()
        flags.command(app, "ask", "Test")(self._ask)
        self._command = typer.main.get_command(app)

    def by(self, line: str) -> types_pb2.AllocationSpec:
        words = shlex.split(line)
        assert words[:2] == ["computepool", "ask"]
        self._command.main(words[2:], standalone_mode=False)
        return self._found.pop()

    def _ask(self, wanted: Wanted) -> None:
        self._found.append(wanted.message())


ASKED = Asked()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(specs())
def test_flags_ask_for_exactly_the_request_that_they_were_made_of(
    spec: types_pb2.AllocationSpec,
) -> None:
    assert ASKED.by(spec_flags.command("ask", spec)) == spec


def test_what_every_default_says_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPUTEPOOL_TENANT", raising=False)
    spec = types_pb2.AllocationSpec(
        part=types_pb2.PartSpec(
            devices=6, models=["A 100"], resources=types_pb2.Resources(memory_mib=1536)
        ),
        count=1,
        ttl_s=3600,
    )
    line = spec_flags.command("allocate", spec)
    assert line == "computepool allocate --gpus 6 --model 'A 100' --memory 1536MiB"
    assert spec_flags.command("allocate", spec, "t").endswith(" --tenant t")
