"""Windows imitated: its locks, and, as a program, the command without the parts of Python that Windows lacks.

`python windows.py sample MODEL` runs `seqgen sample MODEL`. There modules and attributes of POSIX systems are missing,
folders can't be opened, open files can't be removed or replaced, and locks are `msvcrt.locking`. `sys.platform` is not
changed, because the standard library and PyTorch would look for Windows' own modules.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

MODULES = {"fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
OS_NAMES = """
O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC
O_TMPFILE chown chroot fchdir fchmod fchown fdatasync fork forkpty fpathconf fstatvfs getegid geteuid getgid getgroups
getloadavg getpgid getpgrp getpriority getresuid getsid getuid getxattr initgroups killpg lchown listxattr lockf
major makedev memfd_create minor mkfifo mknod nice openpty pathconf pipe2 posix_fadvise posix_fallocate posix_spawn
posix_spawnp pread preadv pwrite pwritev readv sched_getaffinity sched_setaffinity sched_yield sendfile setegid seteuid
setgid setpgid setpriority setsid setuid setxattr splice statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname wait3
wait4 waitid writev
""".split()  # noqa: SIM905
SIGNAL_NAMES = """
SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGPWR SIGQUIT SIGSTOP SIGTSTP SIGTTIN
SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGWINCH SIG_BLOCK SIG_UNBLOCK alarm getitimer pause pthread_sigmask setitimer
siginterrupt sigpending sigtimedwait sigwait sigwaitinfo
""".split()  # noqa: SIM905


class Msvcrt(types.ModuleType):
    """Locks of Windows, by those of POSIX systems."""

    LK_NBLCK = 2

    @staticmethod
    def locking(handle: int, mode: int, count: int) -> None:
        assert (mode, count) == (Msvcrt.LK_NBLCK, 1)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


class _Missing:
    """An importer that has none of `MODULES`."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def _open_paths() -> set[str]:
    """Real paths of the files that this process has open or mapped (Linux)."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{entry}"))
        except FileNotFoundError:  # that of the listing itself
            continue
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        found |= {line.split(maxsplit=5)[5].rstrip("\n") for line in lines if line.count("/")}
    return found


def _refuse_if_open(path: Any) -> None:
    real = os.path.realpath(os.fsdecode(path))
    if any(opened == real or opened.startswith(real + os.sep) for opened in _open_paths()):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))


def imitate() -> None:
    """Make this process one on Windows, before it imports anything else."""
    import ctypes
    import shutil
    import signal
    import subprocess  # noqa: F401 - takes a system with `msvcrt` for Windows
    import tempfile

    tempfile._os = types.SimpleNamespace(**vars(os))  # type: ignore[attr-defined]  # removes files that it has open
    real = types.SimpleNamespace(**vars(os))

    def open_file(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return int(real.open(path, flags, *arguments, **options))

    def checked(name: str, arguments: int) -> Any:
        def call(*paths: Any, **options: Any) -> Any:
            for path in paths[:arguments]:
                _refuse_if_open(path)
            return getattr(real, name)(*paths, **options)

        return call

    os.open = open_file
    if os.path.isdir("/proc/self/fd"):
        for name, arguments in (("unlink", 1), ("remove", 1), ("rmdir", 1), ("rename", 2), ("replace", 2)):
            setattr(os, name, checked(name, arguments))
    shutil._use_fd_functions = False  # type: ignore[attr-defined]

    library = ctypes.CDLL
    # No functions of the C library by their names; that of Windows has none of those that Linux has.
    ctypes.CDLL = lambda name, **options: library(name, **options) if name else object()  # type: ignore
    for module, names in ((os, OS_NAMES), (signal, SIGNAL_NAMES)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Missing())  # type: ignore[arg-type]
    sys.modules["msvcrt"] = Msvcrt("msvcrt")


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    imitate()
    from seqgen.cli.main import main

    sys.exit(main())
