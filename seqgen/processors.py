"""The processors that this process may use: all of them for many processes, one a core for arithmetic; and threads."""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_SYSTEM, _PROCESS = Path("/sys"), Path("/proc/self")  # of Linux


class Threads:
    """A pool of threads that begins with its first use, and anew in a forked process: that has none of its parent's."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def is_inherited(self) -> bool:
        """Whether the pool is that of the parent of a forked process, where it does nothing."""
        return self._process != os.getpid()

    def pool(self) -> ThreadPoolExecutor:
        """The pool of this process. Thread-safe."""
        if self.is_inherited():  # the lock too may be held for ever
            self._lock, self._pool, self._process = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self._count)
                weakref.finalize(self, self._pool.shutdown, wait=False)
            return self._pool


def process_cpu_count() -> int:
    """Return how many processors this process may keep busy; hyper-threads of one core count as several.

    An affinity mask, a container's CPU set and a CPU quota (`docker --cpus`) lower the number. A quota that is not
    whole is rounded down: threads that wait for each other would all be stopped when it is used up.
    """
    return _within_quota(len(_usable()))


def process_core_count() -> int:
    """Return how many physical cores this process may keep busy.

    The hyper-threads of a core share its arithmetic units, so they count once. Of Apple's cores the slow ones don't
    count. Where a system doesn't tell which processors share a core, each of them is one, on Windows every other.
    """
    if sys.platform == "darwin":
        return _within_quota(_apple_cores() or len(_usable()))
    if sys.platform == "win32":
        return _within_quota(_windows_cores() or max(1, len(_usable()) // 2))
    return _within_quota(len({_siblings(processor) for processor in _usable()}))


def _usable() -> set[int]:
    """The numbers of the processors on which this process may run."""
    affinity = getattr(os, "sched_getaffinity", None)
    return set(affinity(0)) if affinity else set(range(os.cpu_count() or 1))


def _within_quota(count: int) -> int:
    return max(1, min([count, *_quotas()])) if sys.platform == "linux" else count


def _siblings(processor: int) -> str:
    """The processors of one core, as Linux lists them: `0,64` or `0-1`."""
    folder = _SYSTEM / "devices" / "system" / "cpu" / f"cpu{processor}" / "topology"
    for name in ("core_cpus_list", "thread_siblings_list"):  # the latter before Linux 5.3
        if listed := _read(folder / name):
            return listed
    return str(processor)


def _quotas() -> Iterator[int]:
    """Yield the CPU quotas of this process's control groups and of those around them, in whole processors.

    A container may see its group at the root of the file system while its path names the host's folders, so every
    folder on the path is tried.
    """
    for controllers, path in re.findall(r"^\d+:([^:]*):/*(.*)$", _read(_PROCESS / "cgroup"), re.MULTILINE):
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in (controllers, "cpu") if controllers else ("", "unified"):  # version 1, version 2
            for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
                yield from _quota(_SYSTEM / "fs" / "cgroup" / root / folder)


def _quota(group: Path) -> list[int]:
    """The quota of one control group, of version 2 or else 1, if it has one."""
    both = _read(group / "cpu.max") or f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
    numbers = re.fullmatch(r"(\d{1,18}) ([1-9]\d{0,18})", both)  # "max 100000" and "-1 100000" are none
    return [int(numbers[1]) // int(numbers[2])] if numbers else []


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""


def _apple_cores() -> int:
    """The number of performance cores, else of all cores; 0 if the system doesn't say."""
    count, size = ctypes.c_int32(), ctypes.c_size_t(4)
    by_name = ctypes.CDLL(None).sysctlbyname
    for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):
        if by_name(name, ctypes.byref(count), ctypes.byref(size), None, ctypes.c_size_t(0)) == 0 and count.value > 0:
            return count.value
    return 0


def _windows_cores() -> int:
    """The number of cores with a processor in this process's affinity mask; 0 if the system doesn't say."""
    kernel: Any = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    size = ctypes.c_uint32()
    kernel.GetLogicalProcessorInformation(None, ctypes.byref(size))
    records = ctypes.create_string_buffer(size.value)
    mask, system = ctypes.c_size_t(), ctypes.c_size_t()
    process = ctypes.c_void_p(-1)  # GetCurrentProcess() is this constant
    if not (
        kernel.GetLogicalProcessorInformation(records, ctypes.byref(size))
        and kernel.GetProcessAffinityMask(process, ctypes.byref(mask), ctypes.byref(system))
    ):
        return 0
    # SYSTEM_LOGICAL_PROCESSOR_INFORMATION: the mask of its processors, the relation between them, 16 bytes for others.
    layout, core = "@Ni16x" if ctypes.sizeof(ctypes.c_void_p) == 4 else "@Ni4x16x", 0
    parts = struct.iter_unpack(layout, records.raw[: size.value])
    return sum(relation == core and bool(processors & mask.value) for processors, relation in parts)
