"""Build the compiled kernels: a hook of hatchling, or by hand `python seqgen/native/build.py`.

The kernels are compiled once for each instruction set of the target's processors; one is chosen when the library is
loaded. An instruction set that the compiler doesn't know is left out. Without a working compiler nothing is built, a
warning is printed, and the program runs without kernels.

`python seqgen/native/build.py --target NAME` makes a wheel for another platform (in `dist`; needs `pip install build`).
It sets SEQGEN_TARGET, by which the hook cross-compiles with zig; any failure then ends the build.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent


class InstructionSet(NamedTuple):
    """How the kernels are compiled for it: the bytes of a register, the compiler's flags, and zig's if they differ."""

    name: str
    register_bytes: int
    flags: tuple[str, ...] = ()
    zig_flags: tuple[str, ...] | None = None


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
    "aarch64": (
        InstructionSet("dotprod", 16, ("-march=armv8.2-a+dotprod",), ("-mcpu=generic+dotprod",)),
        InstructionSet("neon", 16),
    ),
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
    "-O3", "-std=gnu11", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-g0", "-w",
)  # fmt: skip
POSIX_FLAGS = ("-fPIC",)
NATIVE_LIBRARY = "kernels.dll" if sys.platform == "win32" else "kernels.so"


def compile_kernels(
    target: Path | None = None,
    platform_tag: str | None = None,
    left_out: Callable[[str, str], None] = lambda name, message: None,
) -> str | None:
    """Build the library; returns an error message, or None.

    Args:
        target: where the library goes; by default beside this file.
        platform_tag: one of `TARGETS`, for zig; by default this machine, with $CC or `cc`.
        left_out: called with the name of an instruction set that could not be compiled, and the compiler's message.
    """
    if platform_tag is None:
        compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
        machine, library = ALIASES.get(platform.machine(), platform.machine()), NATIVE_LIBRARY
        if shutil.which(compiler[0]) is None:
            return f"there is no compiler {compiler[0]!r}"
    else:
        if platform_tag not in TARGETS:
            return f"no target {platform_tag!r}; there are {', '.join(TARGETS)}"
        _, triple, machine, library = TARGETS[platform_tag]
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", triple]
    target = target or HERE / library
    if library.endswith(".so"):
        compiler = [*compiler, *POSIX_FLAGS]
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            sets = INSTRUCTION_SETS.get(machine, GENERIC)
            if platform_tag is not None:
                sets = tuple(one if one.zig_flags is None else one._replace(flags=one.zig_flags) for one in sets)
            made = list(pool.map(lambda one: _objects(compiler, folder, one), sets))
        compiled = [(one.name, objects) for one, objects in zip(sets, made, strict=True) if isinstance(objects, list)]
        if not compiled:
            return str(made[-1])
        for one, message in zip(sets, made, strict=True):
            if isinstance(message, str):
                left_out(one.name, message)
        (folder / "instruction_sets.h").write_text("".join(f"INSTRUCTION_SET({name})\n" for name, _ in compiled))
        objects = [path for _, some in compiled for path in some]
        sources = [str(HERE / name) for name in SOURCES]
        built = folder / library
        libraries = ["-lm"] if library.endswith(".so") else []
        failure = _run([*compiler, *FLAGS, f"-I{folder}", "-shared", *sources, *objects, "-o", str(built), *libraries])
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


def make_wheel(platform_tag: str, folder: Path) -> int:
    """Make a wheel for another platform in `folder`, by `python -m build`; returns its exit status."""
    root = HERE.parents[1]
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(root)]
    return subprocess.run(command, env={**os.environ, "SEQGEN_TARGET": platform_tag}, check=False).returncode


def main() -> int:
    """Build the library for this machine, or wheels for others."""
    parser = argparse.ArgumentParser(description="Build the compiled kernels, or with --target a wheel.")
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=[], help="Platforms to make wheels for.")
    parser.add_argument("--outdir", type=Path, default=Path("dist"), help="Folder of the wheels [default: dist].")
    given = parser.parse_args()
    for platform_tag in given.target:
        if status := make_wheel(platform_tag, given.outdir):
            return status
    failure = None if given.target else compile_kernels(left_out=lambda name, message: print(f"without {name}"))
    if failure:
        print(f"cannot build the kernels: {failure}", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
else:
    try:
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface
    except ImportError:  # not being installed
        pass
    else:

        class KernelsHook(BuildHookInterface):  # type: ignore[misc]
            """Add the library to a wheel, or leave it out where it can't be built.

            This machine's library stays beside the sources, where an editable installation and the tests find it.
            """

            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                self._stack = contextlib.ExitStack()

            def dependencies(self) -> list[str]:
                """Ask for zig to cross-compile."""
                return ["ziglang>=0.13"] if os.environ.get("SEQGEN_TARGET") else []

            def initialize(self, version: str, build_data: dict[str, Any]) -> None:
                """Build before the files of the wheel are collected."""
                if self.target_name != "wheel":
                    return
                platform_tag = os.environ.get("SEQGEN_TARGET")
                built = self._cross_compile(platform_tag, build_data) if platform_tag else self._compile(build_data)
                if built:
                    build_data["pure_python"] = False
                    # Nothing is compiled against Python: any version of it will do, on this platform.
                    own = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                    build_data["tag"] = f"py3-none-{platform_tag or own}"

            def _compile(self, build_data: dict[str, Any]) -> bool:
                (HERE / NATIVE_LIBRARY).unlink(missing_ok=True)
                if failure := compile_kernels():
                    self.app.display_warning(f"seqgen runs without its compiled kernels, slower: {failure}")
                    return False
                build_data["artifacts"].append(f"seqgen/native/{NATIVE_LIBRARY}")
                return True

            def _cross_compile(self, platform_tag: str, build_data: dict[str, Any]) -> bool:
                def abort(name: str, message: str) -> None:
                    self._stack.close()
                    self.app.abort(f"cannot build the kernels for {platform_tag}, {name}: {message}")

                name = TARGETS[platform_tag].library if platform_tag in TARGETS else NATIVE_LIBRARY
                library = Path(self._stack.enter_context(tempfile.TemporaryDirectory())) / name
                if failure := compile_kernels(library, platform_tag, abort):
                    abort("all instruction sets", failure)
                build_data["force_include"][str(library)] = f"seqgen/native/{name}"
                return True

            def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
                """Remove what was cross-compiled."""
                self._stack.close()
