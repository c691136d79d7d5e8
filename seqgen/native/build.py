"""Builds the compiled kernels. The installer calls it (a hook of hatchling); by hand: `python seqgen/native/build.py`.

Without a compiler, or where it fails, nothing is built, a line says so, and the program runs without.
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
SOURCES = ("cells.c", "draw.c", "light.c", "sequence.c", "threads.c")
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")


def compile_kernels(target: Path = HERE / "kernels.so") -> str | None:
    """Builds the library; returns what went wrong, or None."""
    words = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(words[0]) is None:
        return f"there is no compiler {words[0]!r}"
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        made = Path(place) / "kernels.so"
        command = [*words, *FLAGS, *(str(HERE / name) for name in SOURCES), "-o", str(made), "-lm"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            return f"{shlex.join(command)}\n{done.stdout}"
        os.replace(made, target)
    return None


if __name__ == "__main__":
    failure = compile_kernels()
    if failure:
        sys.exit(f"the kernels could not be built: {failure}")
else:
    try:
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface
    except ImportError:  # not being installed
        pass
    else:

        class KernelsHook(BuildHookInterface):  # type: ignore[misc]
            """Adds `kernels.so` to a wheel, or leaves it out where it can't be built."""

            def initialize(self, version: str, build_data: dict[str, Any]) -> None:
                if self.target_name != "wheel":
                    return
                (HERE / "kernels.so").unlink(missing_ok=True)
                failure = compile_kernels()
                if failure:
                    self.app.display_warning(f"seqgen runs without its compiled kernels, slower: {failure}")
                    return
                build_data["pure_python"] = False
                build_data["artifacts"].append("seqgen/native/kernels.so")
                # Nothing of Python is compiled in: any version of it will do, on this kind of machine.
                system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                build_data["tag"] = f"py3-none-{system}"
