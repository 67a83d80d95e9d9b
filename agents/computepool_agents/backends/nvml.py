"""NVIDIA devices of this machine, by NVML.

May import model. Asks the driver; the `pynvml` module is an argument, because it is imported
only where this is used and because a machine without NVIDIA devices has to be told apart.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from computepool_agents.model import WHOLE_DEVICE_MILLI, Device

if TYPE_CHECKING:
    from collections.abc import Collection

    from structlog.typing import FilteringBoundLogger

BUSY_MEMORY_SHARE = 0.05  # a device without processes of its own still holds a little
MAX_DEVICES = 64

# As NVML names them -> as the broker's catalogue does. Others pass as they are.
MODELS = MappingProxyType(
    {
        "NVIDIA A100-SXM4-80GB": "A100-SXM",
        "NVIDIA A100-SXM4-40GB": "A100-SXM-40GB",
        "NVIDIA A100 80GB PCIe": "A100-PCIe",
        "NVIDIA A100-PCIE-40GB": "A100-PCIe-40GB",
        "NVIDIA A800-SXM4-80GB": "A800",
        "NVIDIA A800 80GB PCIe": "A800-PCIe",
        "NVIDIA H100 80GB HBM3": "H100-SXM",
        "NVIDIA H100 PCIe": "H100-PCIe",
        "NVIDIA H800": "H800",
        "NVIDIA H20": "H20",
        "NVIDIA H20-3e": "H20-141GB",
        "NVIDIA H200": "H200",
        "NVIDIA B200": "B200",
        "NVIDIA L20": "L20",
        "NVIDIA L40S": "L40S",
        "NVIDIA L4": "L4",
        "Tesla V100-SXM2-32GB": "V100-SXM",
        "Tesla V100-SXM2-16GB": "V100-SXM",
        "Tesla V100-PCIE-32GB": "V100-PCIe",
        "Tesla V100-PCIE-16GB": "V100-PCIe",
        "Tesla T4": "T4",
        "NVIDIA GeForce RTX 4090": "RTX-4090",
    }
)


class Nvml:
    """Reads all devices; what it has once seen and can no longer ask is unhealthy."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._known: dict[str, Device] = {}

    @classmethod
    def open(cls, nvml: Any, log: FilteringBoundLogger) -> Nvml | None:
        """Begin to use NVML; None where the machine has no NVIDIA driver."""
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            log.debug("no NVIDIA devices", why=str(error))
            return None
        return cls(nvml)

    def devices(self, ours: Collection[str]) -> tuple[Device, ...]:
        """Read all devices now, by id.

        Args:
            ours: Ids of devices on which work of our leases may run; that is never foreign.
        """
        now: dict[str, Device] = {}
        try:
            count = min(self._nvml.nvmlDeviceGetCount(), MAX_DEVICES)
        except self._nvml.NVMLError:
            count = 0
        for index in range(count):
            device = self._device(index, ours)
            if device is not None:
                now[device.id] = device
        lost = {i: replace(d, healthy=False) for i, d in self._known.items() if i not in now}
        self._known = now | lost
        return tuple(self._known[device_id] for device_id in sorted(self._known))

    def _device(self, index: int, ours: Collection[str]) -> Device | None:
        """Read one device; None when it cannot even be named (it is kept as lost, if known)."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            device_id = str(nvml.nvmlDeviceGetUUID(handle))
            name = str(nvml.nvmlDeviceGetName(handle))
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            foreign = 0 if device_id in ours else self._foreign_milli(handle, memory)
        except nvml.NVMLError:
            return None
        return Device(
            id=device_id,
            model=MODELS.get(name, name),
            memory_mib=memory.total >> 20,
            healthy=self._is_healthy(handle),
            foreign_milli=foreign,
        )

    def _foreign_milli(self, handle: Any, memory: Any) -> int:
        """All or nothing: NVML does not say how much of a device a process takes."""
        busy = (
            bool(self._ask("nvmlDeviceGetComputeRunningProcesses", handle))
            or memory.used > BUSY_MEMORY_SHARE * memory.total
            # Cut into instances, which this agent does not lease: somebody else's affair.
            or (self._ask("nvmlDeviceGetMigMode", handle) or [0])[0] == 1
        )
        return WHOLE_DEVICE_MILLI if busy else 0

    def _is_healthy(self, handle: Any) -> bool:
        """Uncorrectable memory errors since the driver's start, or repairs that need a reset."""
        nvml = self._nvml
        uncorrected = self._ask(
            "nvmlDeviceGetTotalEccErrors",
            handle,
            nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            nvml.NVML_VOLATILE_ECC,
        )
        retiring = self._ask("nvmlDeviceGetRetiredPagesPendingStatus", handle)
        remapped = self._ask("nvmlDeviceGetRemappedRows", handle) or (0, 0, 0, 0)
        _, _, remap_pending, remap_failed = remapped
        return not (uncorrected or retiring or remap_pending or remap_failed)

    def _ask(self, function: str, *arguments: Any) -> Any:
        """Ask what not every device can answer; None where it cannot."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError:
            return None
