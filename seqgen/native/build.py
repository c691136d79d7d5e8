"""Build the compiled kernels: a hook of hatchling, or by hand `python seqgen/native/build.py`.

Without a working compiler nothing is built, a warning is printed, and the program runs without kernels.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCES = ("cells.c", "draw.c", "filters.c", "grammar.c", "sequence.c", "stack.c", "suffix.c", "threads.c")
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")


def compile_kernels(target: Path = HERE / "kernels.so") -> str | None:
    """Build the library; returns an error message, or None."""
    words = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(words[0]) is None:
        return f"there is no compiler {words[0]!r}"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / "kernels.so"
        command = [*words, *FLAGS, *(str(HERE / name) for name in SOURCES), "-o", str(built), "-lm"]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode:
            return f"{shlex.join(command)}\n{result.stdout}"
        os.replace(built, target)
    return None


if __name__ == "__main__":
    failure = compile_kernels()
    if failure:
        sys.exit(f"cannot build the kernels: {failure}")
else:
    try:
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface
    except ImportError:  # not run by the installer
        pass
    else:

        class KernelsHook(BuildHookInterface):  # type: ignore[misc]
            """Adds `kernels.so` to a wheel, or leaves it out if it can't be built."""

            def initialize(self, version: str, build_data: dict[str, Any]) -> None:
                if self.target_name != "wheel":
                    return
                (HERE / "kernels.so").unlink(missing_ok=True)
                failure = compile_kernels()
                if failure:
                    self.app.display_warning(f"cannot build the compiled kernels; seqgen will be slower: {failure}")
                    return
                build_data["pure_python"] = False
                build_data["artifacts"].append("seqgen/native/kernels.so")
                # The library doesn't use Python's C API, so the wheel fits every Python 3 on this platform.
                system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                build_data["tag"] = f"py3-none-{system}"
