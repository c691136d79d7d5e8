"""Waiting for what comes at its own time, and never for ever."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
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
