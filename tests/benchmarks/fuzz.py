"""Fuzz every reader of untrusted input with mutated files.

    python tests/benchmarks/fuzz.py [READER...] [--minutes 30] [--seed 0] [--coverage] [--keep FOLDER]

A file may be read or refused with a `UserError`. Everything else is a finding: another exception, a process that dies,
more than `--memory` bytes, or twenty seconds for one file. Each finding is reported once per line of code and kept with
its input. At the end, or on Ctrl-C, a table counts the files and findings of each reader, with the slowest file for its
size.

Readers, seeds and mutations are those of `tests/helpers/untrusted_readers.py` and `mutations.py`, which the test suite
uses too. With `--coverage`, which needs `atheris`, code coverage guides the mutation instead, for the readers that need
no model; its inputs are kept, and the next run begins with them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

MAX_SECONDS = 20  # of processor time for one file: most take a thousandth of that
WORKER_TIMEOUT = 3600  # seconds of wall-clock time
ROUND_SECONDS = 45.0  # of processor time, for one reader in each round


class TooSlowError(BaseException):
    """A file took longer than `MAX_SECONDS`."""


def raise_too_slow(*_: Any) -> None:
    raise TooSlowError


def location_of(error: BaseException) -> str:
    """The exception and the innermost line of seqgen in its traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/seqgen/" in f.filename]
    location = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    words = str(error) if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} at {location} {words[:300]}".strip()


@dataclass
class Count:
    """What a reader was tried with. Times are of the processor; `slowest` is the file that took most for its size."""

    tried: int = 0
    read: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)

    def add(self, other: Count) -> None:
        """Add the files of another worker."""
        self.tried += other.tried
        self.read += other.read
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest, key=slowness)


def slowness(slowest: tuple[float, int]) -> float:
    """Seconds per byte of (seconds, bytes), as of 4 kB for a smaller file: it takes its time for something else."""
    return slowest[0] / max(slowest[1], 4096)


class Tally:
    """Tries files in a worker: what they are is written to `scratch` before, what became of them after.

    The worker has `seconds` of processor time, and twenty times that for readers that wait.
    """

    def __init__(self, reader: Any, seconds: float, scratch: Path) -> None:
        self._reader, self._scratch = reader, scratch
        self._count = Count()
        self._reported: set[str] = set()
        self._began, self._seconds, self._ends = time.process_time(), seconds, time.monotonic() + 20 * seconds
        signal.signal(signal.SIGPROF, raise_too_slow)

    @property
    def is_over(self) -> bool:
        return self._count.seconds > self._seconds or time.monotonic() > self._ends

    def attempt(self, title: str, data: bytes) -> None:
        """Try a file; print a finding as a JSON line."""
        from tests.helpers import untrusted_readers

        count, scratch = self._count, self._scratch
        (scratch / "input").write_bytes(data)
        (scratch / "title").write_text(title)
        count.tried += 1
        began = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
            count.read += untrusted_readers.attempt(self._reader, data, title, scratch / "try")
            signal.setitimer(signal.ITIMER_PROF, 0)
        except (Exception, TooSlowError) as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            what = location_of(error)
            if what not in self._reported:
                self._reported.add(what)
                kept = scratch / f"finding-{count.tried}"
                kept.write_bytes(data)
                print(json.dumps({"finding": what, "title": title, "input": str(kept)}), flush=True)
        count.slowest = max(count.slowest, (time.process_time() - began, len(data)), key=slowness)
        count.seconds = time.process_time() - self._began
        (scratch / "count").write_text(json.dumps(dataclasses.astuple(count)))


def work(models: Path, name: str, seconds: float, seed: int, memory: int, scratch: Path) -> None:
    """Run a worker: mutated files for one reader, each saved before it is tried; findings are printed as JSON lines."""
    from tests.helpers import model_zoo, mutations, untrusted_readers

    found = untrusted_readers.all_readers({model: models / model for model in model_zoo.MODELS})[name]
    for data in found.seeds:  # imports, caches
        with contextlib.suppress(Exception):
            untrusted_readers.attempt(found, data, found.names[0], scratch / "try")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    tally = Tally(found, seconds, scratch)
    for title, data in mutations.mutated_inputs(found, seed):
        tally.attempt(title, data)
        if tally.is_over:
            return


def run_worker(
    line: list[str], name: str, seconds: float, keep: Path, launcher: list[str]
) -> tuple[Count, dict[str, str]]:
    """Run one worker, with a scratch folder as its last argument; return its count, and findings with their inputs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as text:
        scratch = Path(text)
        env = {**os.environ, "SEQGEN_CACHE": f"{text}/cache", "SEQGEN_DEBUG": "1", "OMP_NUM_THREADS": "1"}
        with open(scratch / "stderr", "w+b") as stderr:
            process = subprocess.Popen([*launcher, sys.executable, __file__, *line, text], stdout=subprocess.PIPE,
                                       stderr=stderr, stdin=subprocess.DEVNULL, env=env,
                                       start_new_session=True)  # fmt: skip
            try:
                out, _ = process.communicate(timeout=WORKER_TIMEOUT)
                died = process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, _ = process.communicate()
                died = -999
            except KeyboardInterrupt:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            stderr.seek(0)
            last = stderr.read()[-300:].decode("utf-8", "replace")
        findings: dict[str, str] = {}
        for entry in (json.loads(each) for each in out.splitlines() if each.startswith(b'{"finding"')):
            findings[entry["finding"]] = _keep(keep, name, Path(entry["input"]).read_bytes(), entry["title"])
        if died and (scratch / "input").exists():
            what = {-999: "timed out"}.get(died, f"the process ended with status {died}")
            findings[f"{what}: {' '.join(last.split())[-160:]}"] = _keep(
                keep, name, (scratch / "input").read_bytes(), (scratch / "title").read_text()
            )
        count = Count()
        with contextlib.suppress(OSError, ValueError):
            *numbers, slowest = json.loads((scratch / "count").read_text())
            count = Count(*numbers, tuple(slowest))
        return count, findings


def _keep(keep: Path, name: str, data: bytes, title: str) -> str:
    folder = keep / name.replace("/", "_").replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}-{title}"
    path.write_bytes(data)
    return str(path)


def fuzz_by_coverage(name: str, seconds: float, corpus: Path, scratch: Path) -> None:
    """Fuzz one reader in a worker by code coverage, with atheris. The first byte of an input chooses its file name."""
    import atheris

    with atheris.instrument_imports(include=["seqgen", "mido"]):
        from tests.helpers import untrusted_readers
    reader = untrusted_readers.data_readers()[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(reader.seeds):
        (corpus / str(number)).write_bytes(bytes([number % 256]) + data)
    tally = Tally(reader, seconds, scratch)

    def one(data: bytes) -> None:
        tally.attempt(reader.names[data[0] % len(reader.names)] if data else reader.names[0], data[1:])
        if tally.is_over:
            os._exit(0)

    atheris.Setup(
        [sys.argv[0], str(corpus), "-max_len=6000", f"-timeout={WORKER_TIMEOUT}", f"-artifact_prefix={scratch}/",
         "-rss_limit_mb=3000"], one
    )  # fmt: skip
    atheris.Fuzz()


def main() -> None:
    """Fuzz in rounds over the readers and print the findings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", help="prefixes of reader names; default: all")
    parser.add_argument("--minutes", type=float, default=30, help="of processor time, without start-up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=int, default=2 << 30)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--models", type=Path, help="small models made by an earlier run")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--launcher", default="nice", help="command that starts the workers")
    options = parser.parse_args()
    from tests.helpers import model_zoo, untrusted_readers

    with contextlib.ExitStack() as stack:
        if options.models is None:
            options.models = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.coverage:
            names = list(untrusted_readers.data_readers())
        else:
            if not (options.models / "text").exists():
                options.models.mkdir(exist_ok=True)
                with tempfile.TemporaryDirectory() as cache:
                    os.environ["SEQGEN_CACHE"] = cache
                    model_zoo.train_each(options.models)
            names = list(untrusted_readers.all_readers({model: options.models / model for model in model_zoo.MODELS}))
        names = [n for n in names if not options.readers or any(n.startswith(a) for a in options.readers)]
        rounds = max(1, round(60 * options.minutes / (ROUND_SECONDS * len(names))))
        seconds = min(ROUND_SECONDS, 60 * options.minutes / len(names))
        counts = {name: Count() for name in names}
        findings: dict[str, dict[str, str]] = {name: {} for name in names}
        with contextlib.suppress(KeyboardInterrupt):
            for number, name in itertools.product(range(rounds), names):
                corpus = options.keep / "corpora" / name.strip(".").replace(" ", "_")
                line = ["--guided", name, str(seconds), str(corpus)] if options.coverage else [
                    "--work", str(options.models), name, str(seconds), str(options.seed + number), str(options.memory)
                ]  # fmt: skip
                count, findings_of = run_worker(line, name, seconds, options.keep, options.launcher.split())
                counts[name].add(count)
                for what, path in findings_of.items():
                    if what not in findings[name]:
                        findings[name][what] = path
                        print(f"FINDING {name}: {what}\n     {path}", flush=True)
                if name == names[-1]:
                    tried = sum(each.tried for each in counts.values())
                    print(f"round {number + 1} of {rounds}: {tried:,} files", file=sys.stderr, flush=True)
        print(f"{'reader':46}{'files':>10}{'read':>10}{'seconds':>10}{'findings':>10}   slowest for its size")
        for name, count in counts.items():
            print(f"{name:46}{count.tried:>10,}{count.read:>10,}{count.seconds:>10.0f}{len(findings[name]):>10}   "
                  f"{count.slowest[0]:.2f} s for {count.slowest[1]:,} bytes")  # fmt: skip
        hours = sum(count.seconds for count in counts.values()) / 3600
        tried = sum(count.tried for count in counts.values())
        found = sum(map(len, findings.values()))
        print(f"{tried:,} files in {hours:.2f} hours of processor time, {found} findings")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _, _, folder, reader, seconds, seed, memory, scratch = sys.argv
        work(Path(folder), reader, float(seconds), int(seed), int(memory), Path(scratch))
    elif sys.argv[1:2] == ["--guided"]:
        _, _, reader, seconds, corpus, scratch = sys.argv
        fuzz_by_coverage(reader, float(seconds), Path(corpus), Path(scratch))
    else:
        main()
