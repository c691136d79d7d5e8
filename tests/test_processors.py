"""The numbers of processors and cores that this process may use, on imitated machines."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen import processors
from seqgen.processors import process_core_count, process_cpu_count

V2, V1 = "0::/\n", "3:cpuset:/\n1:cpu,cpuacct:/\n0::/\n"


def imitate(
    patch: pytest.MonkeyPatch, folder: Path, affinity: set[int], files: Mapping[str, str], cgroup: str = V2
) -> None:
    """A Linux machine whose files are below `folder`."""
    patch.setattr(sys, "platform", "linux")
    patch.setattr(os, "sched_getaffinity", lambda _: affinity, raising=False)
    patch.setattr(processors, "_SYSTEM", folder / "sys")
    patch.setattr(processors, "_PROCESS", folder)
    (folder / "cgroup").write_text(cgroup, "utf-8")
    for name, text in files.items():
        path = folder / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", "utf-8")


def topology(*cores: str, name: str = "core_cpus_list") -> dict[str, str]:
    """Files of a machine whose core number i has the processors `cores[i]`, such as `0,4`."""
    return {
        f"devices/system/cpu/cpu{processor}/topology/{name}": core for core in cores for processor in core.split(",")
    }


def test_counts_follow_the_affinity_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imitate(monkeypatch, tmp_path, {3, 5, 8}, {})
    assert (process_cpu_count(), process_core_count()) == (3, 3)  # nothing is known about cores


def test_process_cpu_count_without_affinity_masks_is_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate(monkeypatch, tmp_path, set(), {})
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert process_cpu_count() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert process_cpu_count() == 1


@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
@pytest.mark.parametrize(
    ("affinity", "cores"),
    [({0, 1, 2, 3, 4, 5, 6, 7}, 4), ({0, 4}, 1), ({0, 1, 2, 3}, 4), ({1, 2, 6}, 2), ({7}, 1)],
    ids=str,
)
def test_process_core_count_counts_hyper_threads_once(
    affinity: set[int], cores: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate(monkeypatch, tmp_path, affinity, topology("0,4", "1,5", "2,6", "3,7", name=name))
    assert (process_cpu_count(), process_core_count()) == (len(affinity), cores)


def test_process_core_count_of_mixed_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fast cores with two threads each, four slow ones with one."""
    imitate(monkeypatch, tmp_path, set(range(8)), topology("0,1", "2,3", "4", "5", "6", "7"))
    assert (process_cpu_count(), process_core_count()) == (8, 6)


@pytest.mark.parametrize(
    ("quota", "processors_left"),
    [("max 100000", 8), ("300000 100000", 3), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8),
     ("300000 0", 8), ("nonsense", 8), ("", 8)],
)  # fmt: skip
def test_counts_follow_a_quota_of_version_2(
    quota: str, processors_left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate(monkeypatch, tmp_path, set(range(8)), {"fs/cgroup/cpu.max": quota})
    assert process_cpu_count() == process_core_count() == processors_left


@pytest.mark.parametrize("root", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "processors_left"), [(-1, 8), (150_000, 1), (400_000, 4)])
def test_counts_follow_a_quota_of_version_1(
    quota: int, processors_left: int, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"fs/cgroup/{root}/cpu.cfs_quota_us": str(quota), f"fs/cgroup/{root}/cpu.cfs_period_us": "100000"}
    imitate(monkeypatch, tmp_path, set(range(8)), files, V1)
    assert process_cpu_count() == process_core_count() == processors_left


def test_counts_follow_the_smallest_quota_around_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "fs/cgroup/user.slice/job/cpu.max": "max 100000",
        "fs/cgroup/user.slice/cpu.max": "200000 100000",
        "fs/cgroup/other/cpu.max": "100000 100000",
    }
    imitate(monkeypatch, tmp_path, set(range(8)), files, "0::/user.slice/job\n")
    assert process_cpu_count() == 2


def test_process_core_count_of_hyper_threads_within_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {**topology("0,2", "1,3"), "fs/cgroup/cpu.max": "300000 100000"}
    imitate(monkeypatch, tmp_path, set(range(4)), files)
    assert (process_cpu_count(), process_core_count()) == (3, 2)


@given(cgroup=st.text(st.sampled_from("0:/cpu,\n.\\"), max_size=30), quota=st.text(max_size=20))
def test_counts_from_any_files_are_at_least_1(
    cgroup: str, quota: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        imitate(patch, tmp_path_factory.mktemp("machine"), {0, 1}, {"fs/cgroup/cpu.max": quota}, cgroup)
        assert 1 <= process_core_count() <= process_cpu_count() <= 2


# ---- Other systems ----


@pytest.mark.parametrize(
    ("known", "cores"),
    [({b"hw.perflevel0.physicalcpu": 6, b"hw.physicalcpu": 10}, 6), ({b"hw.physicalcpu": 4}, 4), ({}, 8)],
    ids=["fast and slow cores", "one kind of core", "unknown"],
)
def test_process_core_count_on_macos(
    known: dict[bytes, int], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate(monkeypatch, tmp_path, set(range(8)), {})
    monkeypatch.setattr(sys, "platform", "darwin")

    def by_name(name: bytes, value: Any, *_: object) -> int:
        ctypes.cast(value, ctypes.POINTER(ctypes.c_int32))[0] = known.get(name, 0)
        return 0 if name in known else -1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(sysctlbyname=by_name))
    assert process_core_count() == cores


@pytest.mark.parametrize(
    ("affinity", "cores"), [(0b111111, 4), (0b11, 1), (0b100101, 3), (None, 3)], ids=["all", "one", "some", "unknown"]
)
def test_process_core_count_on_windows(
    affinity: int | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cores with two threads each, two with one, and a cache that all of them share."""
    imitate(monkeypatch, tmp_path, set(range(6)), {})
    monkeypatch.setattr(sys, "platform", "win32")
    known = [(0b11, 0), (0b1100, 0), (0b111111, 2), (0b10000, 0), (0b100000, 0)]
    table = b"".join(struct.pack("QiiQQ", mask, relation, 0, 0, 0) for mask, relation in known)

    def information(buffer: Any, size: Any) -> int:
        length = ctypes.cast(size, ctypes.POINTER(ctypes.c_uint32))
        fits = buffer is not None and length[0] >= len(table)
        length[0] = len(table)
        if fits:
            ctypes.memmove(buffer, table, len(table))
        return int(fits)

    def mask(process: Any, own: Any, system: Any) -> int:
        ctypes.cast(own, ctypes.POINTER(ctypes.c_size_t))[0] = affinity or 0
        return int(affinity is not None)

    kernel = SimpleNamespace(GetLogicalProcessorInformation=information, GetProcessAffinityMask=mask)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert process_core_count() == cores
