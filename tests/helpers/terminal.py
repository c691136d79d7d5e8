"""A pseudo-terminal that remembers everything written to it, and commands started on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

# Makes the terminal at stderr the controlling one, so that its Ctrl-C arrives; and lets it be heard, even where the
# tests themselves run in the background, deaf to it. Then the command, as it is.
ON_A_TERMINAL = """
import fcntl, signal, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
from seqgen.cli.main import main
sys.exit(main())
"""


class Terminal:
    """A pseudo-terminal of 100 columns, and everything that was ever written to it."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.processes: list[subprocess.Popen[bytes]] = []
        self._said = b""
        self._over = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._over or select.select([self._master], [], [], 0)[0]:
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    self._said += os.read(self._master, 1 << 16)
                except OSError:  # how Linux says that nobody writes any more
                    return

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    @property
    def said(self) -> bytes:
        return self._said.replace(b"\r\n", b"\n")  # what the terminal itself makes of a line feed

    def wait_for(self, words: bytes, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while words not in self._said:
            assert time.monotonic() < until, f"{words!r} never came: {self._said!r}"
            time.sleep(0.02)

    def close(self) -> bytes:
        """All that was said."""
        if not self._over:
            self._over = True
            self._reader.join()
            os.close(self.slave)
            os.close(self._master)
        return self.said


def start(terminal: Terminal, *arguments: object, cwd: Path | None = None, **streams: int) -> subprocess.Popen[bytes]:
    """The command with all three streams at the terminal, but for those given."""
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *map(str, arguments)],
        stdin=streams.get("stdin", terminal.slave),
        stdout=streams.get("stdout", terminal.slave),
        stderr=terminal.slave,
        start_new_session=True,
        cwd=cwd,
        env={**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"},
    )
    terminal.processes.append(process)
    return process


Inside = Callable[..., bytes]
