"""Signals that end a command: Ctrl-C, SIGTERM, SIGHUP (a closed terminal), on Windows Ctrl-Break as well."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_ENDING = ("SIGTERM", "SIGHUP")


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Raise `SystemExit` at SIGTERM and SIGHUP, so that unfinished files are removed; a second one ends at once.

    Handlers are set in the main thread only. `nohup` ignores SIGHUP, and so do its commands.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    with contextlib.suppress(ValueError):  # another thread
        for number in handled:
            signal.signal(number, end)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            for number in handled:
                signal.signal(number, signal.SIG_DFL)


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
