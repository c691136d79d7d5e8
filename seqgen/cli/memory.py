"""Memory: limits on the address space (`ulimit -v`), and errors that mean that there is not enough.

Under such a limit libraries fail in many ways: with pages of messages about threads, with errors that don't mention
memory, or with a crash. So what large libraries need is compared with the limit before they are imported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from seqgen.errors import UserError

_MANY = 4 << 30  # bytes: with more address space, threads of numpy's library are no danger
_NUMPY_NEED = 160 << 20  # measured: numpy 2 with one thread takes 120 MB
_TORCH_NEED = 450 << 20  # beside its libraries; measured: PyTorch 2 and what training imports take 400 MB
_MESSAGES = re.compile(
    "not enough memory|allocate memory|bad_alloc|out of memory|failed to map segment|start new thread|MemoryError",
    re.IGNORECASE,
)
_ADVICE = "a smaller --rnn-size or --batch-size needs less"


class MemoryLimitError(UserError):
    """The limit on the address space is too low for a library."""


def address_space_limit() -> int | None:
    """The limit on the process's address space in bytes; None if there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def prepare_for_limit() -> None:
    """Make libraries use less under a limit, and check it before they are imported. Does nothing without a limit."""
    limit = address_space_limit()
    if limit is None:
        return
    if limit < _MANY:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each has a buffer and a stack
    if not any(isinstance(finder, _LimitedImports) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LimitedImports(limit))


def memory_message(error: BaseException) -> str | None:
    """What to print for an error that means a lack of memory; None for any other error."""
    limit = address_space_limit()
    is_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    is_memory = is_memory or _MESSAGES.search(str(error)) is not None
    # Half-imported libraries fail in any way.
    if limit is not None and isinstance(error, (ImportError, SystemError)):
        is_memory = is_memory or not isinstance(error, ModuleNotFoundError)
    if not is_memory:
        return None
    if limit is None:
        return f"not enough memory; {_ADVICE}"
    return f"not enough memory: the limit of this shell is {_size(limit)} (ulimit -v); raise it, or {_ADVICE}"


class _LimitedImports(MetaPathFinder):
    """Refuses to import libraries that the limit has no room for; finds no module itself."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "numpy":
            self._check("numpy", _NUMPY_NEED)
        elif name == "torch":
            spec = PathFinder.find_spec("torch", None)
            if spec is not None and spec.origin:
                libraries = (Path(spec.origin).parent / "lib").glob("*.so*")
                self._check("PyTorch", _TORCH_NEED + sum(library.stat().st_size for library in libraries))
        return None

    def _check(self, library: str, need: int) -> None:
        free = self._limit - _address_space()
        if free < need:
            raise MemoryLimitError(
                f"not enough memory: {library} needs about {_size(need)} of address space, of which the limit of this "
                f"shell leaves {_size(max(free, 0))} (ulimit -v); raise it"
            )


def _address_space() -> int:
    """The process's address space at present, in bytes; 0 where it isn't known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
