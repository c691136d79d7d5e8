"""Build the compiled kernels: a hook of hatchling, or by hand `python seqgen/native/build.py [--target NAME]`.

The kernels are compiled once for each instruction set of the target's processors; one is chosen when the library is
loaded. An instruction set that the compiler doesn't know is left out. Without a working compiler nothing is built, a
warning is printed, and the program runs without kernels. `--target`, or SEQGEN_TARGET for the hook, cross-compiles with
zig.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent


class InstructionSet(NamedTuple):
    """How the kernels are compiled for it: the bytes of a register, and the compiler's flags."""

    name: str
    register_bytes: int
    flags: tuple[str, ...] = ()


class Target(NamedTuple):
    """A platform to cross-compile for: the wheel's platform tag, zig's triple, the machine and the library's name."""

    tag: str
    triple: str
    machine: str
    library: str = "kernels.so"


_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512cd", "-mprefer-vector-width=512")
# The best first, as `dispatch.c` tries them; each has a test `has_…` of the processor there.
INSTRUCTION_SETS: dict[str, tuple[InstructionSet, ...]] = {
    "x86_64": (
        InstructionSet("avx512bf16", 64, (*_AVX512, "-mavx512vnni", "-mavx512bf16")),
        InstructionSet("avx512vnni", 64, (*_AVX512, "-mavx512vnni")),
        InstructionSet("avx512", 64, _AVX512),
        InstructionSet("avxvnni", 32, (*_AVX2, "-mavxvnni")),
        InstructionSet("avx2", 32, _AVX2),
        InstructionSet("sse2", 16),
    ),
    "aarch64": (InstructionSet("dotprod", 16, ("-march=armv8.2-a+dotprod",)), InstructionSet("neon", 16)),
}
GENERIC = (InstructionSet("generic", 16),)
ALIASES = {"amd64": "x86_64", "AMD64": "x86_64", "arm64": "aarch64", "ARM64": "aarch64"}
TARGETS = {
    target.tag: target
    for target in (
        Target("manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17", "x86_64"),
        Target("manylinux_2_17_aarch64", "aarch64-linux-gnu.2.17", "aarch64"),
        Target("musllinux_1_2_x86_64", "x86_64-linux-musl", "x86_64"),
        Target("macosx_11_0_arm64", "aarch64-macos.11.0", "aarch64"),
        Target("win_amd64", "x86_64-windows-gnu", "x86_64", "kernels.dll"),
    )
}

SOURCES = ("dispatch.c", "grammar.c", "suffix.c", "threads.c")  # for every processor
KERNELS = ("kernels.c", "products.c")  # once for each instruction set
# Products alone may fuse multiply and add: everything else gives the same bits on every processor.
CONTRACT = {"products.c": "-ffp-contract=fast"}
FLAGS = (
    "-O3", "-std=gnu11", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd",
    "-g0", "-w",
)  # fmt: skip


def compile_kernels(target: Path | None = None, platform_tag: str | None = None) -> str | None:
    """Build the library; returns an error message, or None.

    Args:
        target: where the library goes; by default beside this file.
        platform_tag: one of `TARGETS`, for zig; by default this machine, with $CC or `cc`.
    """
    if platform_tag is None:
        compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
        machine, library = ALIASES.get(platform.machine(), platform.machine()), "kernels.so"
        if shutil.which(compiler[0]) is None:
            return f"there is no compiler {compiler[0]!r}"
    else:
        if platform_tag not in TARGETS:
            return f"no target {platform_tag!r}; there are {', '.join(TARGETS)}"
        _, triple, machine, library = TARGETS[platform_tag]
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", triple]
    target = target or HERE / library
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            sets = INSTRUCTION_SETS.get(machine, GENERIC)
            made = list(pool.map(lambda one: _objects(compiler, folder, one), sets))
        compiled = [(one.name, objects) for one, objects in zip(sets, made, strict=True) if isinstance(objects, list)]
        if not compiled:
            return str(made[-1])
        (folder / "instruction_sets.h").write_text("".join(f"INSTRUCTION_SET({name})\n" for name, _ in compiled))
        objects = [path for _, some in compiled for path in some]
        sources = [str(HERE / name) for name in SOURCES]
        built = folder / library
        failure = _run([*compiler, *FLAGS, f"-I{folder}", "-shared", *sources, *objects, "-o", str(built), "-lm"])
        if failure:
            return failure
        os.replace(built, target)
    return None


def _objects(compiler: Sequence[str], folder: Path, one: InstructionSet) -> list[str] | str:
    """The object files of an instruction set, or what the compiler said."""
    objects = []
    for source in KERNELS:
        path = str(folder / f"{one.name}-{source}.o")
        contract = CONTRACT.get(source, "-ffp-contract=off")
        names = (f"-DISA={one.name}", f"-DVECTOR={one.register_bytes}")
        failure = _run([*compiler, *FLAGS, contract, *one.flags, *names, "-c", str(HERE / source), "-o", path])
        if failure:
            return failure
        objects.append(path)
    return objects


def _run(command: Sequence[str]) -> str | None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return f"{shlex.join(command)}\n{done.stdout}" if done.returncode else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the compiled kernels.")
    parser.add_argument("--target", choices=TARGETS, help="Platform to cross-compile for with zig (PyPI: ziglang).")
    failure = compile_kernels(platform_tag=parser.parse_args().target)
    if failure:
        sys.exit(f"cannot build the kernels: {failure}")
else:
    try:
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface
    except ImportError:  # not being installed
        pass
    else:

        class KernelsHook(BuildHookInterface):  # type: ignore[misc]
            """Add the library to a wheel, or leave it out where it can't be built."""

            def initialize(self, version: str, build_data: dict[str, Any]) -> None:
                if self.target_name != "wheel":
                    return
                tag = os.environ.get("SEQGEN_TARGET")
                for stale in ("kernels.so", "kernels.dll"):
                    (HERE / stale).unlink(missing_ok=True)
                failure = compile_kernels(platform_tag=tag)
                if failure:
                    self.app.display_warning(f"seqgen runs without its compiled kernels, slower: {failure}")
                    return
                library = TARGETS[tag].library if tag else "kernels.so"
                build_data["pure_python"] = False
                build_data["artifacts"].append(f"seqgen/native/{library}")
                # Nothing is compiled against Python: any version of it will do, on this platform.
                system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                build_data["tag"] = f"py3-none-{tag or system}"
