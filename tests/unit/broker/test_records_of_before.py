"""What the version before wrote still means the same: digests of requests, records in stores."""

from __future__ import annotations

from computepool_broker.model.codec import Decoder, Encoder
from computepool_broker.model.request import (
    ContactPolicy,
    PartSpec,
    Power,
    Shape,
    Spec,
    Spread,
    SpreadOver,
    digest_of,
)
from support.builders import make_allocation, make_spec

PART = PartSpec(4000, 2048, 0, (("slot", 1),), 2, 0, ("A100", "H800"), 40960)
SHAPE = Shape(PART, ("r1",), ("c1", "c2"), (("k", "v"),))
SPEC = Spec(SHAPE, 3, 60, ContactPolicy.STOP_AFTER, 30)
RECORDED = (
    '[1,"x","default","r1","70f275545ad9af03e0049e830fc6eb6a",[[[4000,2048,0,[["slot",1]],2,0,'
    '["A100","H800"],40960],["r1"],["c1","c2"],[["k","v"]]],3,60,2,30],[[0,0,"n1","",'
    '[["cpu_milli",1000]],1,0]],1000,"",[],1,0,"",0,false,[],0]'
)
"""An allocation as version 0.1 stored it."""


def test_a_retry_across_an_upgrade_has_the_digest_of_before() -> None:
    assert digest_of(make_spec(cpu=1), "", ()).hex() == "5f1fade56f0ce7672a0f0cccf02ca615"
    got = digest_of(SPEC, "text", (("a", "b"),)).hex()
    assert got == "2bf63630da389d95e081dc7d04df1c36"


def test_spread_and_power_are_part_of_the_content() -> None:
    specs = [
        SPEC,
        SPEC._replace(spread=Spread(SpreadOver.NODES)),
        SPEC._replace(spread=Spread(SpreadOver.CENTERS)),
        SPEC._replace(spread=Spread(SpreadOver.NODES, 2)),
        SPEC._replace(power=Power(1)),
        SPEC._replace(power=Power(1, "int8")),
        SPEC._replace(power=Power(1, mixed=True)),
    ]
    assert len({digest_of(spec, "", ()) for spec in specs}) == len(specs)


def test_a_record_of_before_is_loaded_as_it_was() -> None:
    assert Decoder().allocation(RECORDED) == make_allocation("x", spec=SPEC, request_id="r1")


def test_spread_and_power_outlive_the_store() -> None:
    for spec in (
        SPEC._replace(spread=Spread(SpreadOver.REGIONS, 7)),
        SPEC._replace(power=Power(5_000_000, "bf16", mixed=True)),
        SPEC,
    ):
        want = make_allocation("x", spec=spec)
        got = Decoder().allocation(Encoder().allocation(want))
        assert got == want
        assert (got.spec.spread, got.spec.power) == (spec.spread, spec.power)
        assert hash(got.spec) == hash(spec)
