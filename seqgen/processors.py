"""The number of processors that this process may use."""

from __future__ import annotations

import os


def process_cpu_count() -> int:
    """Return how many processors this process may run on, as `os.process_cpu_count` of Python 3.13 does.

    An affinity mask or a container's CPU set lowers the number. A CPU quota (`docker --cpus`) does not.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
