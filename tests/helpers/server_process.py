"""`seqgen serve` in a process of its own, and what a process takes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.waiting import PATIENCE, eventually

_WENT_WELL = re.compile(r'" [1-4]\d\d ')  # in the line of a request that was answered, or refused


@dataclass(frozen=True)
class Usage:
    """What a process takes at a moment.

    Attributes:
        memory: resident, in MB.
        descriptors: open files and sockets.
    """

    memory: float
    descriptors: int
    threads: int


def usage(pid: int | str = "self") -> Usage:
    """What a process takes now (Linux)."""
    process = Path("/proc") / str(pid)
    memory = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Usage(memory, len(os.listdir(process / "fd")), len(os.listdir(process / "task")))


@dataclass
class ServerProcess:
    """A running server.

    Attributes:
        log: its last lines.
        tracebacks: of internal errors in all lines, also where an answer had begun with status 200.
    """

    process: subprocess.Popen[str]
    port: int = 0
    log: deque[str] = field(default_factory=lambda: deque(maxlen=1000))
    tracebacks: int = 0

    def usage(self) -> Usage:
        return usage(self.process.pid)

    def read_log(self) -> None:
        """Read its log to the end, and print what is no line of a request that went well, such as a traceback."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            self.tracebacks += "Traceback" in line
            if self.port and not _WENT_WELL.search(line):
                sys.stderr.write(line)


@contextlib.contextmanager
def server_process(models: Sequence[object], *flags: str) -> Iterator[ServerProcess]:
    """Serve models at a free port for a `with` block; it may end the process, which is terminated otherwise."""
    line = [sys.executable, "-m", "seqgen", "serve", *map(str, models), "--port", "0", *flags]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        server = ServerProcess(process)
        reader = threading.Thread(target=server.read_log)
        reader.start()
        try:
            assert eventually(lambda: server.log or process.poll() is not None), "the server does not start"
            assert process.poll() is None, "".join(server.log)
            server.port = int(server.log[0].rpartition(":")[2])
            yield server
            process.terminate()
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
            reader.join()
