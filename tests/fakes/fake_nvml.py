"""What pynvml gives on a machine with devices, and on one without; as far as nvml.py asks."""

from __future__ import annotations

from dataclasses import dataclass, field

GIB = 1 << 30


class NVMLError(Exception):
    """As pynvml's: the base of all its errors."""


class NotSupportedError(NVMLError):
    """The device cannot answer this."""


@dataclass
class Memory:
    total: int
    used: int


@dataclass
class FakeDevice:
    """One device; `lost` makes every question about it fail."""

    uuid: str = "GPU-1"
    name: str = "NVIDIA H100 80GB HBM3"
    total_gib: int = 80
    used_gib: float = 0.5
    processes: tuple[int, ...] = ()
    mig: bool = False
    uncorrected: int = 0
    retiring: int = 0
    remapped: tuple[int, int, int, int] = (0, 0, 0, 0)
    lost: bool = False
    supports_health: bool = True


@dataclass
class FakeNvml:
    """The module."""

    devices: list[FakeDevice] = field(default_factory=list)
    init_error: str = ""

    NVMLError = NVMLError
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's name
        if self.init_error:
            raise NVMLError(self.init_error)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's name
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeDevice:  # noqa: N802 - same
        if self.devices[index].lost:
            raise NVMLError("GPU is lost")
        return self.devices[index]

    def nvmlDeviceGetUUID(self, handle: FakeDevice) -> str:  # noqa: N802 - same
        return handle.uuid

    def nvmlDeviceGetName(self, handle: FakeDevice) -> str:  # noqa: N802 - same
        return handle.name

    def nvmlDeviceGetMemoryInfo(self, handle: FakeDevice) -> Memory:  # noqa: N802 - same
        return Memory(handle.total_gib * GIB, int(handle.used_gib * GIB))

    def nvmlDeviceGetComputeRunningProcesses(  # noqa: N802 - same
        self, handle: FakeDevice
    ) -> list[int]:
        return list(handle.processes)

    def nvmlDeviceGetMigMode(self, handle: FakeDevice) -> list[int]:  # noqa: N802 - same
        self._need(handle)
        return [int(handle.mig), int(handle.mig)]

    def nvmlDeviceGetTotalEccErrors(  # noqa: N802 - same
        self, handle: FakeDevice, kind: int, counter: int
    ) -> int:
        self._need(handle)
        asked = (self.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, self.NVML_VOLATILE_ECC)
        return handle.uncorrected if (kind, counter) == asked else 99

    def nvmlDeviceGetRetiredPagesPendingStatus(self, handle: FakeDevice) -> int:  # noqa: N802 - same
        self._need(handle)
        return handle.retiring

    def nvmlDeviceGetRemappedRows(  # noqa: N802 - same
        self, handle: FakeDevice
    ) -> tuple[int, int, int, int]:
        self._need(handle)
        return handle.remapped

    def _need(self, handle: FakeDevice) -> None:
        if not handle.supports_health:
            raise NotSupportedError("Not Supported")
