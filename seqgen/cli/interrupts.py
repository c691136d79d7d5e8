"""Ctrl-C, SIGTERM and SIGHUP (a closed terminal) during training, on Windows Ctrl-Break as well."""

from __future__ import annotations

import signal
from types import FrameType


class InterruptHandler:
    """Turn the first of these signals in a training into a request to save and stop.

    Before training has started, and at the second signal, `KeyboardInterrupt` is raised instead; but the hangup of a
    terminal may arrive several times, from the kernel and from the shell.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.training = False

    def __call__(self) -> bool:
        return self.signal != 0

    def install(self) -> None:
        """Handle the signals from now on."""
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):  # the last one is sent when a console window is closed, too
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._receive)
        # `nohup` ignores hangups.
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == getattr(signal, "SIGHUP", None):
            return
        at_once = self.signal or not self.training
        self.signal = number
        if at_once:
            raise KeyboardInterrupt
