"""Quick tests in every environment that this machine can offer.

    python tests/benchmarks/matrix.py [--only CELL...] [--list] [--tests PATH...] [--folder build/matrix]

A cell is one environment: another Python, the oldest or newest allowed dependencies, an instruction set of the
kernels, a locale, a home folder, a number of cores, a limit on memory, a user, a umask or a time zone. In each, `QUICK`
is run by pytest, then a tiny model of each task is trained and every command of `model_zoo.COMMANDS` is run on it, with
the cache where the program puts it by itself. Both count as tests in the table. A cell that can't be run here is listed
with the reason.

Cells of Pythons and dependencies install a wheel of the working tree in a virtual environment of their own, with the
tests beside it; those environments are kept in the folder. "oldest" has every dependency but PyTorch at the lower bound
in pyproject.toml. Ends with status 1 if a test failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from seqgen.native import instruction_set, instruction_sets

ROOT = Path(__file__).resolve().parents[2]
QUICK = (
    "tests/test_golden.py", "tests/test_tensors.py", "tests/test_locks.py", "tests/test_streams.py",
    "tests/native/test_instruction_sets.py", "tests/native/test_kernels.py", "tests/generation/engines",
    "tests/corpus/tables", "tests/corpus/opening", "tests/corpus/series", "tests/corpus/labelled",
    "tests/tokenizers/test_subwords.py", "tests/music/test_midi.py", "tests/plots/test_plots.py",
    "tests/evaluation/baselines", "tests/interop/test_export.py", "tests/server/test_generating.py",
)  # fmt: skip
LIGHT = ("tests/test_golden.py",)  # commands that need no PyTorch
AARCH64 = ("tests/native/test_instruction_sets.py::test_aarch64_kernels_have_the_same_bits_under_qemu",)
PYTHONS = range(11, 16)  # minor versions to look for
NOT_NEEDED = {"ruff", "mypy"}  # of the extra `test`, by the quick tests
NOBODY, UNKNOWN = 65534, 54321  # users; the second is in no /etc/passwd
TIMEOUT = 1800  # seconds of one cell


class UnavailableError(Exception):
    """A cell that this machine can't run, and why."""


@dataclass
class Cell:
    """An environment: what differs in it from this process."""

    name: str
    what: str
    prefix: tuple[str, ...] = ()  # words before the command
    environment: dict[str, str | None] = field(default_factory=dict)  # None removes a variable
    python: Callable[[Path], Path] | None = None  # makes the virtual environment and returns its Python
    tests: Sequence[str] = QUICK
    commands: bool = True


# ---- The cells ----


def all_cells(folder: Path) -> Iterator[Cell]:
    """Every cell, also of what this machine may lack."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Cell("plain", f"as it is: Python {python}, user {os.getuid()}, kernels {instruction_set() or 'none'}")
    for minor in PYTHONS:
        if minor != sys.version_info.minor:
            yield Cell(f"python-3.{minor}", f"Python 3.{minor}", python=in_python(minor))
    yield Cell("oldest", "dependencies at their lower bounds", python=in_dependencies(oldest_versions))
    yield Cell("newest", "dependencies at their newest versions", python=in_dependencies(list))
    yield from kernel_cells()
    yield Cell("locale-c", "LC_ALL=C", environment={"LC_ALL": "C"})
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    yield Cell("locale-ascii", "LC_ALL=C, without Python's UTF-8 mode", environment=ascii_only)
    latin = {"LC_ALL": "en_US.ISO-8859-1", "LOCPATH": str(folder / "locales")}
    yield Cell("locale-latin1", "LC_ALL=en_US.ISO-8859-1", environment=latin)
    yield Cell("no-home", "no HOME, no entry in /etc/passwd", as_user(UNKNOWN), {"HOME": None})
    yield Cell("read-only-home", "HOME can't be written", as_user(NOBODY), {"HOME": str(folder / "read-only")})
    yield Cell("nobody", "user nobody", as_user(NOBODY))
    yield Cell("one-core", "one core", ("taskset", "-c", str(min(os.sched_getaffinity(0)))))
    yield Cell("two-cores", "two cores and threads", ("taskset", "-c", cores(2)), {"OMP_NUM_THREADS": "2"})
    yield Cell("memory-512", "ulimit -v 512 MB, commands without PyTorch", limited(512), tests=LIGHT, commands=False)
    yield Cell("memory-3072", "ulimit -v 3 GB", limited(3072))
    yield Cell("umask", "umask 077", ("sh", "-c", 'umask 077; exec "$@"', "sh"))
    yield Cell("time-zone", "TZ=Pacific/Chatham", environment={"TZ": "Pacific/Chatham"})
    yield Cell("aarch64", "kernels for aarch64, under qemu", tests=AARCH64, commands=False)


def kernel_cells() -> Iterator[Cell]:
    """Those of each instruction set but the best, which the other cells use."""
    for name in instruction_sets()[1:]:
        yield Cell(f"isa-{name}", f"SEQGEN_ISA={name}", environment={"SEQGEN_ISA": name})
    yield Cell("native-0", "SEQGEN_NATIVE=0", environment={"SEQGEN_NATIVE": "0"})


def cores(count: int) -> str:
    return ",".join(map(str, sorted(os.sched_getaffinity(0))[:count]))


def limited(megabytes: int) -> tuple[str, ...]:
    return ("sh", "-c", f'ulimit -v {megabytes << 10}; exec "$@"', "sh")


def as_user(number: int) -> tuple[str, ...]:
    """Words that run a command as this user, if this one is root; nothing otherwise.

    Where Python lies in a folder that only root may enter, the command sees an empty one in its place, with Python in
    it, in a mount namespace of its own.
    """
    if os.getuid() != 0:
        return ()
    change = ("setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups")
    base = Path(sys.base_prefix)
    closed = [path for path in reversed(base.parents) if not path.stat().st_mode & 1]
    if not closed:
        return change
    script = (
        'T=$(mktemp -d) && mount --bind "$0" "$T" && mount -t tmpfs -o mode=755 none "$1" && mkdir -p "$0"'
        ' && mount --bind "$T" "$0" && umount "$T" && rmdir "$T" && shift && exec "$@"'
    )
    return ("unshare", "--mount", "sh", "-c", script, str(base), str(closed[0]), *change)


def check(cell: Cell, folder: Path) -> None:
    """Make what the cell needs in `folder`.

    Raises `UnavailableError` where the machine lacks something.
    """
    if cell.prefix and shutil.which(cell.prefix[0]) is None:
        raise UnavailableError(f"there is no {cell.prefix[0]}")
    if cell.prefix and subprocess.run([*cell.prefix, "true"], capture_output=True, check=False).returncode:
        raise UnavailableError(f"{cell.prefix[0]} is not allowed here")
    if cell.name == "nobody" and not cell.prefix:
        raise UnavailableError("only root can change its user")
    if cell.name == "two-cores" and len(os.sched_getaffinity(0)) < 2:
        raise UnavailableError("there is one core")
    if cell.name == "locale-latin1":
        (folder / "locales").mkdir(exist_ok=True)
        locale = folder / "locales" / "en_US.ISO-8859-1"
        if shutil.which("localedef") is None:
            raise UnavailableError("there is no localedef")
        subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(locale)], capture_output=True, check=False)
        if not locale.is_dir():
            raise UnavailableError("localedef can't make it")
    if cell.name == "read-only-home":
        (folder / "read-only").mkdir(exist_ok=True)
        (folder / "read-only").chmod(0o555)
    if cell.name == "aarch64":
        needed = ("aarch64-linux-gnu-gcc", "qemu-aarch64")
        missing = [name for name in needed if shutil.which(name) is None]
        if missing:
            raise UnavailableError(f"there is no {' and no '.join(missing)}")


# ---- Virtual environments ----


def in_python(minor: int) -> Callable[[Path], Path]:
    return lambda folder: environment(folder / f"python-3.{minor}", find_python(minor), [], False)


def in_dependencies(constraints: Callable[[], list[str]]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        given = constraints()
        return environment(folder / ("oldest" if given else "newest"), Path(sys.executable), given, True)

    return make


def find_python(minor: int) -> Path:
    """An interpreter of this version: on PATH, of pyenv, or fetched by uv.

    Raises `UnavailableError` if there is none.
    """
    name = f"python3.{minor}"
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    candidates = sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"))
    if on_path := shutil.which(name):
        candidates.append(Path(on_path))
    if shutil.which("uv"):
        found = subprocess.run(["uv", "python", "find", f"3.{minor}"], capture_output=True, text=True, check=False)
        if found.returncode and not candidates:
            subprocess.run(["uv", "python", "install", f"3.{minor}"], capture_output=True, timeout=600, check=False)
            found = subprocess.run(["uv", "python", "find", f"3.{minor}"], capture_output=True, text=True, check=False)
        candidates += [Path(found.stdout.strip())] if found.returncode == 0 else []
    for path in candidates:
        version = subprocess.run([path, "-c", "import sys, venv; print(sys.version_info.minor)"],
                                 capture_output=True, check=False)  # fmt: skip
        if version.stdout.strip() == str(minor).encode():
            return path
    raise UnavailableError("no such Python on PATH, in pyenv or from uv")


def requirements() -> list[Requirement]:
    """What the package, its extras and the quick tests need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = {Requirement(line).name: Requirement(line) for line in extras["test"]}
    found |= {Requirement(line).name: Requirement(line) for name in extras if name != "test" for line in extras[name]}
    found |= {Requirement(line).name: Requirement(line) for line in project["dependencies"]}
    return [found[name] for name in sorted(found) if name not in NOT_NEEDED]


def oldest_versions() -> list[str]:
    """The lower bounds of pyproject.toml as constraints; the tools of the extra `test` keep their versions."""
    tools = {"pytest", "pytest-xdist", "hypothesis", "torch"}
    return [
        f"{one.name}=={bound.version}"
        for one in requirements()
        for bound in one.specifier
        if bound.operator == ">=" and one.name not in tools
    ]


def environment(folder: Path, python: Path, constraints: list[str], share_torch: bool) -> Path:
    """Make a virtual environment, or take the one of an earlier run, and install the working tree in it.

    With `share_torch`, PyTorch is that of this process.
    Raises `UnavailableError` if something can't be installed.
    """
    torch = f"torch=={metadata.version('torch').partition('+')[0]}"
    wanted = [*map(str, requirements()), torch, *constraints, str(python)]
    stamp = folder / "stamp"
    key = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    inside = folder / "bin" / "python"
    is_made = stamp.exists() and stamp.read_text() == key
    if not is_made or not constraints:  # what is newest changes
        if not is_made:
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
            if share_torch:
                link_torch(folder, inside)
        (folder / "constraints.txt").write_text("\n".join([torch, *constraints]) + "\n")
        install(inside, "--upgrade", "--upgrade-strategy", "eager", "-c", folder / "constraints.txt",
                *[str(one) for one in requirements()])  # fmt: skip
        stamp.write_text(key)
    install(inside, "--no-deps", "--force-reinstall", wheel(folder.parent))
    return inside


def install(python: Path, *arguments: object) -> None:
    command = [str(python), "-m", "pip", "install", "--no-input", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise UnavailableError(f"pip: {errors[0] if errors else 'failed'}")


def link_torch(folder: Path, python: Path) -> None:
    """Put links to this process's PyTorch in a folder that a .pth file adds to the path."""
    links = folder / "shared"
    links.mkdir()
    for name in {file.parts[0] for file in metadata.files("torch") or [] if file.parts[0] != ".."}:
        (links / name).symlink_to(Path(str(metadata.distribution("torch").locate_file(name))))
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    (Path(packages) / "shared.pth").write_text(f"{links}\n")


def tree(folder: Path) -> Path:
    """A copy of the working tree's files; `tests` lies in a part of it that has no package."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    copy = folder / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    for name in filter(None, listed.decode().split("\0")):
        part = "package" if name.startswith("seqgen/") else "rest"
        for target in {copy / "package" / name, copy / part / name}:
            if (ROOT / name).exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
    return copy


_wheels: dict[Path, Path] = {}


def wheel(folder: Path) -> Path:
    """The wheel of the working tree, built once a run."""
    if folder not in _wheels:
        built = folder / "wheel"
        shutil.rmtree(built, ignore_errors=True)
        package = tree(folder) / "package"
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", built, package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(f"pip wheel: {done.stderr.strip().splitlines()[-1]}")
        (_wheels[folder],) = built.iterdir()
    return _wheels[folder]


# ---- Running ----


@dataclass
class Outcome:
    """Counts of one cell."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)


def run_cell(cell: Cell, folder: Path) -> Outcome:
    """Run tests and commands of a cell; the log stays in its folder.

    Raises `UnavailableError` if they can't be run here.
    """
    check(cell, folder)
    python, working = Path(sys.executable), ROOT
    if cell.python is not None:
        python = cell.python(folder)
        working = folder / "tree" / "rest"
    scratch = folder / "cells" / cell.name
    shutil.rmtree(scratch, ignore_errors=True)
    for part in (scratch, scratch / "home", scratch / "commands", scratch / "base"):
        part.mkdir(parents=True)
        part.chmod(0o777)
    removed = ("SEQGEN_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LC_ALL", "LANG", "SEQGEN_ISA", "SEQGEN_NATIVE")
    variables = {name: value for name, value in os.environ.items() if name not in removed}
    variables |= {"HOME": str(scratch / "home"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
                  "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "home"), "TMPDIR": str(scratch / "base")}  # fmt: skip
    variables |= {name: value for name, value in cell.environment.items() if value is not None}
    for name in (name for name, value in cell.environment.items() if value is None):
        del variables[name]
    outcome = Outcome()
    with open(scratch / "log", "wb") as log:

        def run(*words: object) -> str:
            command = [*cell.prefix, str(python), *map(str, words)]
            try:
                done = subprocess.run(command, cwd=working, env=variables, stdin=subprocess.DEVNULL, timeout=TIMEOUT,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout  # fmt: skip
            except subprocess.TimeoutExpired as error:
                done = (error.stdout or b"") + f"\nFAILED {cell.name}: not ended after {TIMEOUT} s\n".encode()
            log.write(done)
            return done.decode("utf-8", "replace")

        options = ("-n", 0, "-p", "no:cacheprovider", "--tb=short", "--basetemp", scratch / "base" / "pytest")
        marks = () if cell.tests is AARCH64 else ("-m", quick_marks())
        count_tests(run("-m", "pytest", *options, *marks, *cell.tests), outcome)
        if cell.commands:
            count_commands(run("tests/benchmarks/matrix.py", "--commands", scratch / "commands"), outcome)
    return outcome


def quick_marks() -> str:
    """The expression of marks by which pytest leaves out what is asked for, and slow tests too."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"]["addopts"]
    words = shlex.split(options)
    return f"{words[words.index('-m') + 1]} and not slow"


def count_tests(output: str, outcome: Outcome) -> None:
    """Add pytest's counts."""
    last = next((line for line in reversed(output.splitlines()) if re.search(r" in [\d.]+s", line)), "")
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    outcome.passed += counts.get("passed", 0)
    outcome.skipped += counts.get("skipped", 0)
    outcome.failed += counts.get("failed", 0) + counts.get("error", 0) + (not counts)
    outcome.failures += re.findall(r"^(?:FAILED|ERROR) (.*)", output, re.MULTILINE)
    if not counts:
        outcome.failures += output.strip().splitlines()[-3:]


def count_commands(output: str, outcome: Outcome) -> None:
    """Add the counts of `run_commands`."""
    last = output.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        outcome.failed += 1
        outcome.failures += ["commands: " + last]
        return
    counts = json.loads(last)
    outcome.passed += counts["passed"]
    outcome.failed += len(counts["failed"])
    outcome.failures += counts["failed"]


def run_commands(folder: Path) -> None:
    """Train a model of each task and run every command on it; prints a JSON line of counts."""
    from tests.helpers import model_zoo

    passed, failed = 0, []
    models = model_zoo.train_each(folder)
    for name, lines in model_zoo.COMMANDS.items():
        for line in lines:
            words = [word.format(m=models[name], f=folder) for word in line.split()]
            try:
                model_zoo.run_command(words)
                passed += 1
            except (Exception, SystemExit) as error:
                failed.append(f"{line}: {type(error).__name__}: {str(error).strip()[:300]}")
    print(json.dumps({"passed": passed + len(models), "failed": failed}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="CELL")
    parser.add_argument("--list", action="store_true", help="print the cells and end")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="instead of the quick tests")
    parser.add_argument("--commands", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.commands:
        run_commands(given.commands)
        return 0
    folder = given.folder.resolve()
    cells = list(all_cells(folder))
    unknown = set(given.only) - {cell.name for cell in cells}
    if unknown:
        parser.error(f"no cell {', '.join(sorted(unknown))}; --list prints them")
    if given.list:
        print("\n".join(f"{cell.name:18} {cell.what}" for cell in cells))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    print(f"{'cell':18} {'passed':>6} {'failed':>6} {'skipped':>7} {'seconds':>7}  environment")
    for cell in cells:
        if given.only and cell.name not in given.only:
            continue
        began = time.monotonic()
        if given.tests and cell.tests is QUICK:
            cell.tests = given.tests
        try:
            outcome = run_cell(cell, folder)
        except UnavailableError as error:
            print(f"{cell.name:18} {'–':>6} {'–':>6} {'–':>7} {'–':>7}  {cell.what}: {error}", flush=True)
            continue
        counts = f"{outcome.passed:6} {outcome.failed:6} {outcome.skipped:7} {time.monotonic() - began:7.0f}"
        print(f"{cell.name:18} {counts}  {cell.what}", flush=True)
        failures += [f"{cell.name}: {one}" for one in outcome.failures]
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
