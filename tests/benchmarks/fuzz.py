"""Strangers' files by the thousand: every reader is given spoilt files for as long as one likes.

    python tests/benchmarks/fuzz.py [READER...] [--minutes 30] [--seed 0] [--coverage] [--keep FOLDER]

A file may be read or refused, with a sentence. All else is a find: another exception, a process that dies, one that
takes more than `--memory` bytes or twenty seconds over a file. Each find is kept with its input, once for each place in
the code, and told at the end with how many files each reader was given.

Readers, good examples and ways to spoil them are those of `tests/strange.py`, which the test suite uses in small. With
`--coverage`, and where `atheris` is installed, files are bred by what code they reach instead of by chance: for the
readers that are Python themselves and need no model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SLOWEST = 20  # seconds of the processor that a file may take: most take a thousandth of that
HANGING = 3600  # seconds on the clock after which a worker is given up
TURN = 45.0  # seconds of work at a time with one reader


class TooSlow(BaseException):
    """A file took longer than any may."""


def ring(*_: Any) -> None:
    raise TooSlow


def where(error: BaseException) -> str:
    """The exception and the innermost place in the program that it came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/seqgen/" in f.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    words = str(error) if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} at {place} {words[:300]}".strip()


def work(models: Path, name: str, seconds: float, seed: int, memory: int, place: Path) -> None:
    """What a worker does: spoilt files for one reader, each written down before it is tried. Says, on lines of JSON,
    what it found and how many it tried."""
    from tests.helpers import model_zoo as strange

    found = strange.readers({kind: models / kind for kind in strange.KINDS})[name]
    for data in found.seeds:  # imports, caches
        with contextlib.suppress(Exception):
            strange.attempt(found, data, found.names[0], place / "try")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    signal.signal(signal.SIGPROF, ring)
    read = 0
    told: set[str] = set()
    ends = time.monotonic() + seconds
    for number, (title, data) in enumerate(strange.inputs(found, seed), 1):
        (place / "input").write_bytes(data)
        (place / "title").write_text(title)
        signal.setitimer(signal.ITIMER_PROF, SLOWEST)
        try:
            read += strange.attempt(found, data, title, place / "try")
        except (Exception, TooSlow) as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            what = where(error)
            if what not in told:
                told.add(what)
                kept = place / f"find-{number}"
                kept.write_bytes(data)
                print(json.dumps({"find": what, "title": title, "input": str(kept)}), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)
        (place / "count").write_text(f"{number} {read}")
        if time.monotonic() > ends:
            return


def turn(
    models: Path, name: str, seconds: float, seed: int, memory: int, keep: Path, through: list[str]
) -> tuple[int, int, dict[str, str]]:
    """One worker's work: how many files were tried, how many read, and what was found, with the file kept."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as text:
        place = Path(text)
        own = ["--work", str(models), name, str(seconds), str(seed), str(memory), text]
        line = [*through, sys.executable, __file__, *own]
        env = {**os.environ, "SEQGEN_CACHE": f"{text}/cache", "SEQGEN_DEBUG": "1", "OMP_NUM_THREADS": "1"}
        with open(place / "said", "w+b") as said:
            process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL, env=env,
                                       start_new_session=True)  # fmt: skip
            try:
                out, _ = process.communicate(timeout=seconds + HANGING)
                died = process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, _ = process.communicate()
                died = -999
            said.seek(0)
            last = said.read()[-300:].decode("utf-8", "replace")
        finds: dict[str, str] = {}
        for entry in map(json.loads, out.splitlines()):
            finds[entry["find"]] = _keep(keep, name, Path(entry["input"]).read_bytes(), entry["title"])
        if died and (place / "input").exists():
            what = {-999: "never ended"}.get(died, f"the process died ({died})")
            finds[f"{what}: {' '.join(last.split())[-160:]}"] = _keep(
                keep, name, (place / "input").read_bytes(), (place / "title").read_text()
            )
        tried, read = 0, 0
        with contextlib.suppress(OSError, ValueError):
            tried, read = map(int, (place / "count").read_text().split())
        return tried, read, finds


def _keep(keep: Path, name: str, data: bytes, title: str) -> str:
    folder = keep / name.replace("/", "_").replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}-{title}"
    path.write_bytes(data)
    return str(path)


def bred(name: str, seconds: float, keep: Path) -> None:
    """The same by what code the files reach, with atheris. Ends the process at the first find."""
    import atheris

    with atheris.instrument_imports(include=["seqgen", "mido"]):
        from seqgen.corpus.conversations import read as conversations  # noqa: F401
        from seqgen.corpus.labelled import read as labelled  # noqa: F401
        from seqgen.corpus.series import read as series  # noqa: F401
        from seqgen.music import midi  # noqa: F401
        from tests.helpers import model_zoo as strange
    reader = strange.data_readers()[name]
    place = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    corpus = keep / f"corpus-{name.strip('.')}"  # what is bred is kept: the next run goes on from it
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(reader.seeds):
        (corpus / str(number)).write_bytes(bytes([number % 256]) + data)

    def one(data: bytes) -> None:
        title = reader.names[data[0] % len(reader.names)] if data else reader.names[0]
        strange.attempt(reader, data[1:], title, place / "try")

    atheris.Setup(
        [sys.argv[0], str(corpus), f"-max_total_time={seconds:.0f}", "-max_len=6000", "-print_final_stats=1",
         f"-timeout={SLOWEST}", f"-artifact_prefix={keep}/{name.strip('.')}-", "-rss_limit_mb=3000"], one
    )  # fmt: skip
    atheris.Fuzz()


def main() -> None:
    """Fuzzes, and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", help="beginnings of names; all where none is given")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=int, default=2 << 30)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-finds"))
    parser.add_argument("--models", type=Path, help="small models made before, by an earlier run")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--through", default="nice", help="a command to start workers with")
    asked = parser.parse_args()
    if asked.coverage:
        (name,) = asked.readers
        bred(name, 60 * asked.minutes, asked.keep)
        return
    from tests.helpers import model_zoo as strange

    with contextlib.ExitStack() as stack:
        if asked.models is None:
            asked.models = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not (asked.models / "text").exists():
            asked.models.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory() as cache:
                os.environ["SEQGEN_CACHE"] = cache
                strange.train_each(asked.models)
        names = list(strange.readers({kind: asked.models / kind for kind in strange.KINDS}))
        names = [n for n in names if not asked.readers or any(n.startswith(a) for a in asked.readers)]
        rounds = max(1, round(60 * asked.minutes / (TURN * len(names))))
        seconds = min(TURN, 60 * asked.minutes / len(names))
        tried: Counter[str] = Counter()
        read: Counter[str] = Counter()
        finds: dict[str, dict[str, str]] = {name: {} for name in names}
        for number in range(rounds):
            for name in names:
                count, good, found = turn(
                    asked.models, name, seconds, asked.seed + number, asked.memory, asked.keep, asked.through.split()
                )
                tried[name] += count
                read[name] += good
                for what, path in found.items():
                    if what not in finds[name]:
                        finds[name][what] = path
                        print(f"FIND {name}: {what}\n     {path}", flush=True)
            print(f"round {number + 1} of {rounds}: {sum(tried.values()):,} files", file=sys.stderr, flush=True)
        hours = rounds * len(names) * seconds / 3600
        print(f"{'reader':46}{'files':>10}{'read':>10}{'finds':>8}")
        for name in names:
            print(f"{name:46}{tried[name]:>10,}{read[name]:>10,}{len(finds[name]):>8}")
        print(f"{sum(tried.values()):,} files in {hours:.2f} hours, {sum(map(len, finds.values()))} finds")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _, _, folder, reader, seconds, seed, memory, place = sys.argv
        work(Path(folder), reader, float(seconds), int(seed), int(memory), Path(place))
    else:
        main()
