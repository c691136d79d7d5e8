"""Waiting for what comes at its own time, and never for ever."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

P = TypeVar("P", str, bytes)
PATIENCE = 120.0  # seconds that a command may take to start on a busy machine


def eventually(condition: Callable[[], object], seconds: float = PATIENCE, pause: float = 0.01) -> bool:
    """Whether a condition, asked every `pause` seconds, becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(pause)
    return bool(condition())


@contextlib.contextmanager
def killed_after(process: subprocess.Popen[P], seconds: float = PATIENCE) -> Iterator[subprocess.Popen[P]]:
    """Kill a process when a `with` block has taken so long, so that reading from it comes to an end."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        timer.join()


class Stopwatch:
    """The time that something takes, whatever else the machine does."""

    def __init__(self) -> None:
        self._began, self._waited, self._computed = time.monotonic(), waited("thread-self"), _computed_by_children()

    @property
    def seconds(self) -> float:
        """Seconds since it was made, without those for which this thread could have run, but no processor was free."""
        return time.monotonic() - self._began - (waited("thread-self") - self._waited)

    @property
    def seconds_of_children(self) -> float:
        """Seconds of processor time of the processes that have ended since and were waited for."""
        return _computed_by_children() - self._computed


def waited(process: int | str) -> float:
    """Seconds for which the main thread of a process could have run, but no processor was free; 0 where unknown.

    Args:
        process: its number, or another name of it in /proc.
    """
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _computed_by_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
