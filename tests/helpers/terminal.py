"""A pseudo-terminal that records its output, and commands started on it."""

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
from collections.abc import Callable
from pathlib import Path

from tests.helpers.waiting import eventually

# Makes the terminal at stderr the controlling one, so that its Ctrl-C arrives. Restores the handler of Ctrl-C, which is
# ignored if the tests run in the background. Then runs the command.
MAIN_ON_TERMINAL = """
import fcntl, signal, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
from seqgen.cli.main import main
sys.exit(main())
"""


class Terminal:
    """A pseudo-terminal of 100 columns that records its output."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.processes: list[subprocess.Popen[bytes]] = []
        self._output = b""
        self._closed = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._closed or select.select([self._master], [], [], 0)[0]:
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    self._output += os.read(self._master, 1 << 16)
                except OSError:  # Linux: the other end is closed
                    return

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    @property
    def output(self) -> bytes:
        return self._output.replace(b"\r\n", b"\n")  # the terminal translates line feeds

    def wait_for(self, text: bytes, times: int = 1) -> None:
        found = eventually(lambda: self._output.count(text) >= times)
        assert found, f"{text!r} is not in {self._output!r}"

    def close(self) -> bytes:
        """Close the terminal and return its output."""
        if not self._closed:
            self._closed = True
            self._reader.join()
            os.close(self.slave)
            os.close(self._master)
        return self.output


def start_on_terminal(
    terminal: Terminal, *arguments: object, cwd: Path | None = None, **streams: int
) -> subprocess.Popen[bytes]:
    """Start a command with its three streams on the terminal, except those given as descriptors."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN_ON_TERMINAL, *map(str, arguments)],
        stdin=streams.get("stdin", terminal.slave),
        stdout=streams.get("stdout", terminal.slave),
        stderr=terminal.slave,
        start_new_session=True,
        cwd=cwd,
        env={**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"},
    )
    terminal.processes.append(process)
    return process


TerminalRun = Callable[..., bytes]
