"""NVIDIA devices as the pool names them: model, health, use by others."""

from __future__ import annotations

import pytest
import structlog

from computepool_agents.backends.nvml import Nvml
from computepool_agents.model import Device
from fakes.fake_nvml import FakeDevice, FakeNvml

LOG = structlog.get_logger()


def read(*devices: FakeDevice, ours: tuple[str, ...] = ()) -> tuple[Device, ...]:
    nvml = Nvml.open(FakeNvml(list(devices)), LOG)
    assert nvml is not None
    return nvml.devices(ours)


@pytest.mark.parametrize("error", ["NVML Shared Library Not Found", "Driver Not Loaded"])
def test_no_driver_means_no_devices(error: str) -> None:
    assert Nvml.open(FakeNvml(init_error=error), LOG) is None


def test_the_real_library_is_no_obstacle_without_a_driver() -> None:
    import pynvml  # noqa: PLC0415 - as the agent imports it, late

    nvml = Nvml.open(pynvml, LOG)
    assert nvml is None or all(device.id for device in nvml.devices(()))


def test_device_is_named_by_uuid_in_the_catalogues_spelling() -> None:
    assert read(FakeDevice("GPU-7")) == (Device("GPU-7", "H100-SXM", 80 * 1024),)


def test_unknown_model_passes_as_it_is() -> None:
    assert read(FakeDevice(name="NVIDIA X1"))[0].model == "NVIDIA X1"


@pytest.mark.parametrize(
    "device",
    [
        FakeDevice(uncorrected=1),
        FakeDevice(retiring=1),
        FakeDevice(remapped=(0, 0, 1, 0)),
        FakeDevice(remapped=(0, 0, 0, 1)),
    ],
)
def test_broken_memory_is_unhealthy(device: FakeDevice) -> None:
    assert not read(device)[0].healthy


def test_repaired_memory_is_healthy() -> None:
    assert read(FakeDevice(remapped=(3, 1, 0, 0)))[0].healthy


def test_device_without_health_counters_is_healthy() -> None:
    assert read(FakeDevice(supports_health=False)) == (Device("GPU-1", "H100-SXM", 80 * 1024),)


@pytest.mark.parametrize(
    ("device", "want"),
    [
        (FakeDevice(), 0),
        (FakeDevice(used_gib=3.9), 0),
        (FakeDevice(used_gib=4.1), 1000),
        (FakeDevice(processes=(4711,)), 1000),
        (FakeDevice(mig=True), 1000),
    ],
)
def test_use_by_others(device: FakeDevice, want: int) -> None:
    assert read(device)[0].foreign_milli == want


def test_the_work_of_our_leases_is_never_foreign() -> None:
    busy = FakeDevice("GPU-2", processes=(1,), used_gib=79)
    assert read(busy, ours=("GPU-2",))[0].foreign_milli == 0


def test_lost_device_stays_as_unhealthy_until_it_is_back() -> None:
    fake = FakeNvml([FakeDevice("GPU-1"), FakeDevice("GPU-2")])
    nvml = Nvml.open(fake, LOG)
    assert nvml is not None
    nvml.devices(())
    fake.devices[1].lost = True
    assert [(d.id, d.healthy) for d in nvml.devices(())] == [("GPU-1", True), ("GPU-2", False)]
    fake.devices[1].lost = False
    assert all(device.healthy for device in nvml.devices(()))
