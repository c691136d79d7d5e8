"""The speed of training on this machine, measured for a plan."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_RUNS = 3  # the first one also allocates memory
_AGREEMENT = 1.05  # how much longer the second fastest run may take
_OWN_TIME = 0.9  # of a run, in which this thread had a processor
_FINE = 1e-3  # seconds: clocks of processor time that are coarser tell nothing about a run


def undisturbed_seconds(
    run: Callable[[], object],
    patience: float,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
    thread_clock: Callable[[], float] = time.thread_time,
) -> float:
    """Seconds that `run` takes, without other work that comes and goes.

    Other work can only make a run slower, so the fastest counts. Two signs tell a machine that is busy for a moment
    from one that is slow: runs differ, or this thread waits for a processor. Then `run` is repeated until the moment
    has passed, or `patience` is at an end: a machine that stays busy is slow.

    Args:
        run: returns when the device has done the work.
        patience: seconds in all, beyond which only the first `_RUNS` are made.
        device: on which `run` works; only on the CPU does this thread work as well.
        clock: seconds.
        thread_clock: seconds for which this thread had a processor.
    """
    observes = device.type == "cpu" and time.get_clock_info("thread_time").resolution < _FINE
    began, runs = clock(), []
    while True:
        before, own_before = clock(), thread_clock()
        run()
        runs.append((clock() - before, thread_clock() - own_before))
        if len(runs) < _RUNS:
            continue
        (fastest, own), (second, _) = sorted(runs)[:2]
        undisturbed = second <= _AGREEMENT * fastest and (own >= _OWN_TIME * fastest or not observes)
        if undisturbed or clock() - began >= patience:
            return fastest


def probe_patience(seconds: float) -> float:
    """Seconds that one measurement may take for the plan of a run of so many seconds."""
    return min(1.0, 0.01 * max(seconds, 0.0))
