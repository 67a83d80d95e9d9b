"""Builders of answers of the broker: a valid message in one line."""

from __future__ import annotations

from typing import Any

from computepool.v1 import allocation_pb2, inventory_pb2, types_pb2


def make_amounts(total: int = 0, **others: int) -> inventory_pb2.Amounts:
    """Amounts with free worked out from the rest."""
    used = sum(others.get(name, 0) for name in ("reserved", "foreign", "granted"))
    others.setdefault("free", max(0, total - used))
    return inventory_pb2.Amounts(total=total, schedulable=others["free"], **others)


def make_model(
    model: str = "A100",
    devices: int = 8,
    foreign: int = 0,
    granted: int = 0,
    in_flight: int = 0,
    gflops_each: int = 312_000,
    **others: int,
) -> inventory_pb2.ModelView:
    """Devices of one model; whole numbers of devices."""
    return inventory_pb2.ModelView(
        model=model,
        devices=make_amounts(
            devices * 1000,
            foreign=foreign * 1000,
            granted=granted * 1000,
            in_flight=in_flight * 1000,
            **others,
        ),
        peak_gflops=devices * gflops_each,
        granted_gflops=granted * gflops_each,
        foreign_gflops=foreign * gflops_each,
        unknown_model=gflops_each == 0,
    )


def make_center(
    center: str = "tj-1",
    *models: inventory_pb2.ModelView,
    cores: int = 64,
    age_ms: int = 4000,
    agents: int = 1,
    agents_active: int = 1,
    cordoned: bool = False,
) -> inventory_pb2.CenterView:
    return inventory_pb2.CenterView(
        center=center,
        nodes=2,
        nodes_schedulable=2,
        cpu_milli=make_amounts(cores * 1000, reserved=500),
        models=models,
        age_ms=age_ms,
        agents=agents,
        agents_active=agents_active,
        cordoned=cordoned,
    )


def make_view(
    *centers: inventory_pb2.CenterView, region: str = "tianjin", **others: int
) -> inventory_pb2.GetViewResponse:
    regions = [inventory_pb2.RegionView(region=region, role="support", centers=centers)]
    answer = inventory_pb2.GetViewResponse(
        regions=regions if centers else [], state=inventory_pb2.POOL_STATE_READY, precision="fp16"
    )
    for name, value in others.items():
        setattr(answer, name, value)
    return answer


def make_lease(
    index: int = 0, node: str = "tj-1-n0", devices: tuple[str, ...] = ("GPU-a",), milli: int = 1000
) -> allocation_pb2.Lease:
    return allocation_pb2.Lease(
        id=f"a-1.{index}.0",
        index=index,
        region="tianjin",
        center="tj-1",
        node=node,
        model="A100" if devices else "",
        devices=[types_pb2.DeviceShare(device_id=each, milli=milli) for each in devices],
        resources=types_pb2.Resources(cpu_milli=4000),
        state=types_pb2.LEASE_STATE_STARTED,
    )


def make_allocation(
    *leases: allocation_pb2.Lease,
    id_: str = "a-1",
    state: allocation_pb2.AllocationState = allocation_pb2.ALLOCATION_STATE_ACTIVE,
    end: allocation_pb2.EndReason = allocation_pb2.END_REASON_UNSPECIFIED,
) -> allocation_pb2.Allocation:
    return allocation_pb2.Allocation(
        id=id_,
        tenant="default",
        spec=types_pb2.AllocationSpec(
            part=types_pb2.PartSpec(devices=1, models=["A100"]), count=max(1, len(leases))
        ),
        state=state,
        end_reason=end,
        leases=leases or [make_lease()],
        remaining_ttl_ms=3_599_500,
        request_id="r-1",
    )


def make_refusal(center: str = "tj-1", **others: Any) -> allocation_pb2.Refusal:
    return allocation_pb2.Refusal(
        summary="no center has 16 free A100 on one node",
        centers=[
            allocation_pb2.CenterRefusal(
                center=center,
                region="tianjin",
                reason="DEVICES",
                resource="devices",
                missing=2,
                nodes=5,
                age_ms=4200,
            )
        ],
        **others,
    )
