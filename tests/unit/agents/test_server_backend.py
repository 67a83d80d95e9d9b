"""This machine as a node: what others use, and grants as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from computepool_agents.backends.foreign import CpuReading, foreign, smoothed, used_cpu_milli
from computepool_agents.backends.grants import Grants
from computepool_agents.backends.server import Reserve, ServerBackend
from computepool_agents.model import ADMITTED, STARTED, Amounts
from fakes.agent_builders import make_held, make_record

if TYPE_CHECKING:
    from pathlib import Path


def make_backend(folder: Path, reserve: Reserve | None = None) -> ServerBackend:
    return ServerBackend("n1", folder, reserve or Reserve(), Grants(folder), None)


async def test_node_is_this_machine(tmp_path: Path) -> None:
    (node,) = await make_backend(tmp_path).nodes({})
    assert node.total.cpu_milli == (psutil.cpu_count() or 0) * 1000
    assert node.total.memory_mib == psutil.virtual_memory().total >> 20
    assert node.total.disk_mib == psutil.disk_usage(str(tmp_path)).total >> 20
    assert not node.foreign.beyond(node.total.minus(node.reserved))
    assert node.foreign.memory_mib % 64 == 0
    assert node.labels.keys() == {"os", "arch", "hostname"}


async def test_reserve(tmp_path: Path) -> None:
    reserve = Reserve(cpu_milli=10, memory_mib=20, disk_mib=30)
    (node,) = await make_backend(tmp_path, reserve).nodes({})
    assert node.reserved == Amounts(10, 20, 30)


def test_default_reserve_is_the_larger_of_a_floor_and_a_twentieth() -> None:
    small, large = Amounts(2_000, 4_096, 10_000), Amounts(64_000, 512_000, 1_000_000)
    assert Reserve().of(small) == Amounts(500, 512, 1_024)
    assert Reserve().of(large) == Amounts(3_200, 25_600, 50_000)
    assert Reserve(cpu_milli=9_999).of(small).cpu_milli == 2_000


async def test_what_our_leases_may_use_is_not_foreign(tmp_path: Path) -> None:
    none = Reserve(cpu_milli=0, memory_mib=0, disk_mib=0)
    backend = make_backend(tmp_path, none)
    (before,) = await backend.nodes({})
    assert before.foreign.memory_mib > 0
    everything = before.total.memory_mib // 1024 + 1
    held = {"a.0.0": make_held("a.0.0", STARTED, memory=everything)}
    (after,) = await backend.nodes(held)
    assert after.foreign.memory_mib == 0
    held = {"a.0.0": make_held("a.0.0", ADMITTED, memory=everything)}
    (after,) = await backend.nodes(held)
    assert after.foreign.memory_mib > 0


def test_foreign_is_what_is_left_rounded_up_and_bounded() -> None:
    total, reserved = Amounts(8_000, 10_000, 50_000), Amounts(500, 500, 1_000)
    used = Amounts(2_510, 1_530, 4_000)
    assert foreign(used, Amounts(1_000, 0, 0), reserved, total) == Amounts(1_050, 1_088, 3_072)
    assert foreign(used, Amounts(9_000, 9_000, 9_000), reserved, total) == Amounts()
    assert foreign(Amounts(8_000), Amounts(), reserved, total).cpu_milli == 7_500


def test_cpu_between_two_readings() -> None:
    assert used_cpu_milli(CpuReading(10.0, 100.0), CpuReading(20.0, 115.0)) == 1_500.0
    assert used_cpu_milli(CpuReading(10.0, 100.0), CpuReading(10.0, 101.0)) == 0.0


def test_smoothing_takes_about_a_minute() -> None:
    assert smoothed(0.0, 1_000.0, 60.0) == pytest.approx(632.1, abs=0.1)
    assert smoothed(500.0, 1_000.0, 0.0) == 500.0
    twice = smoothed(smoothed(0.0, 1_000.0, 5.0), 1_000.0, 5.0)
    assert twice == pytest.approx(smoothed(0.0, 1_000.0, 10.0))


async def test_grant_is_a_private_file_while_it_lasts(tmp_path: Path) -> None:
    backend = make_backend(tmp_path)
    await backend.adopt([])
    record = make_record(devices={"GPU-1": 1000, "GPU-2": 1000})
    await backend.start(record)
    await backend.start(record)
    path = tmp_path / "grants" / "a1.0.0.env"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == (
        "COMPUTEPOOL_LEASE=a1.0.0\n"
        "COMPUTEPOOL_ALLOCATION=a1\n"
        "COMPUTEPOOL_NODE=n1\n"
        "COMPUTEPOOL_CPU_MILLI=1000\n"
        "COMPUTEPOOL_MEMORY_MIB=1024\n"
        "COMPUTEPOOL_DISK_MIB=0\n"
        "COMPUTEPOOL_DEVICES=GPU-1=1000,GPU-2=1000\n"
        "CUDA_VISIBLE_DEVICES=GPU-1,GPU-2\n"
        "NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2\n"
    )
    await backend.stop(record)
    await backend.stop(record)
    assert not path.exists()


async def test_no_device_means_none_visible(tmp_path: Path) -> None:
    backend = make_backend(tmp_path)
    await backend.adopt([])
    await backend.start(make_record())
    assert "CUDA_VISIBLE_DEVICES=\n" in (tmp_path / "grants" / "a1.0.0.env").read_text()


async def test_adoption_makes_the_folder_agree_with_the_journal(tmp_path: Path) -> None:
    (tmp_path / "grants").mkdir()
    (tmp_path / "grants" / "old.0.0.env").write_text("")
    held = [make_held("a.0.0", STARTED), make_held("b.0.0", ADMITTED)]
    await make_backend(tmp_path).adopt(held)
    assert [path.name for path in (tmp_path / "grants").iterdir()] == ["a.0.0.env"]
