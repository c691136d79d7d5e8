"""Signals that end a command: Ctrl-C, SIGTERM, SIGHUP (a closed terminal), on Windows Ctrl-Break as well."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

_ENDING = ("SIGTERM", "SIGHUP")
_AGAIN_SECONDS = 0.1  # enough for the callback to return


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Raise `SystemExit` at SIGTERM and SIGHUP, so that unfinished files are removed.

    Handlers are set in the main thread only. `nohup` ignores SIGHUP, and so do its commands. Where Python ignores an
    exception, in the callback of a weak reference for example, it would lose the signal: it is sent again.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    def send_again(ignored: sys.UnraisableHookArgs) -> None:
        if not isinstance(ignored.exc_value, KeyboardInterrupt | SystemExit):
            hook(ignored)
            return
        _thread.start_new_thread(_send_later, (_signal_of(ignored.exc_value),))

    hook = sys.unraisablehook
    sys.unraisablehook = send_again
    numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    with contextlib.suppress(ValueError):  # another thread
        for number in handled:
            signal.signal(number, end)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        with contextlib.suppress(ValueError):
            for number in handled:
                signal.signal(number, signal.SIG_DFL)


def _send_later(number: int) -> None:
    time.sleep(_AGAIN_SECONDS)
    os.kill(os.getpid(), number)


def _signal_of(error: KeyboardInterrupt | SystemExit) -> int:
    """The signal that a handler raised an exception for."""
    if isinstance(error, SystemExit):
        return error.code - 128 if isinstance(error.code, int) and error.code > 128 else signal.SIGTERM
    return error.args[0] if error.args else signal.SIGINT


class InterruptHandler:
    """Turn the first signal in a training into a request to save and stop, as long as it is a context.

    Before training has started, and at the second signal, `KeyboardInterrupt` is raised instead; but the hangup of a
    terminal may arrive several times, from the kernel and from the shell.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.training = False
        self._before: dict[int, Any] = {}  # handlers

    def __call__(self) -> bool:
        return self.signal != 0

    def __enter__(self) -> InterruptHandler:
        names = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")  # SIGBREAK: also when a console window is closed
        for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
            before = signal.getsignal(number)
            if number == getattr(signal, "SIGHUP", None) and before is signal.SIG_IGN:  # `nohup` ignores hangups
                continue
            self._before[number] = before
            signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == getattr(signal, "SIGHUP", None):
            return
        at_once = self.signal or not self.training
        self.signal = number
        if at_once:
            raise KeyboardInterrupt(number)
