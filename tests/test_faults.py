"""Fault injection: a few dozen of the hundreds of faults of `benchmarks/faults.py`, and a short soak test.

Each fault hits a training in a process of its own, which must then continue as if nothing had happened. A failure
names the seed that reproduces it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

import seqgen
from seqgen import checkpoint
from seqgen.cli.interrupts import exit_on_signals
from seqgen.streams import atomic_write

TINY: dict[str, Any] = {"rnn_size": 8, "embedding_size": 4, "batch_size": 4, "seq_length": 16, "steps": 3,
                        "precision": "fp32", "threads": 1}  # fmt: skip
BENCHMARKS = Path(__file__).parent / "benchmarks"


def run_script(script: str, *arguments: str) -> Any:
    """Run a benchmark and parse its JSON."""
    line = [sys.executable, str(BENCHMARKS / script), *arguments, "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=500, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_faults_of_every_class_are_survived() -> None:
    """A fault of each of eight classes that need no permission to mount, always the same.

    Other seeds, and the classes of which one fault is many trainings, are for the benchmark.
    """
    classes = ("SIGKILL inside", "SIGTERM", "two signals", "no room", "clocks that jump", "a source that changes",
               "two trainings")  # fmt: skip
    found = run_script("faults.py", *classes, "--tasks", "text,forecast", "--count", "8", "--seed", "1")
    assert found["wrong"] == []
    assert found["survived"] == found["tried"]
    assert list(found["tried"].values()) == [1] * 8  # two have clocks that jump


@pytest.mark.long
def test_long_run_does_not_leak() -> None:
    found = run_script("soak.py", "--trainings", "9", "--samples", "200", "--requests", "28")
    for first, *_, last in found.values():
        assert last["descriptors"] == first["descriptors"]
        assert last["threads"] == first["threads"]
        assert last["memory"] < first["memory"] + 25  # megabytes


# Sends this process a signal when the import of a module begins.
AT_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), int(os.environ["NUMBER"]))
sys.meta_path.insert(0, Finder())
from seqgen.__main__ import main
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["typer", "seqgen.cli.commands.train", "torch", "torch.optim", "seqgen.training.loop"]
)
def test_main_signal_during_imports_prints_no_traceback(module: str, text_file: Path, tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        line = [sys.executable, "-c", AT_IMPORT, "train", str(text_file), "-o", str(tmp_path / "m")]
        env = {**os.environ, "AT": module, "NUMBER": str(int(number))}
        done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, env=env, timeout=100)
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode in (128 + number, -number)
        assert list(tmp_path.iterdir()) == []


def test_resume_after_stop_gives_the_same_run(text_file: Path, tmp_path: Path) -> None:
    """The validation after a stop counts neither for the best weights nor for patience."""
    from seqgen.api.train.watch import Watcher
    from seqgen.training.loop import Stepped

    options: dict[str, Any] = {"rnn_size": 8, "embedding_size": 4, "batch_size": 4, "seq_length": 16, "steps": 30,
                               "precision": "fp32", "threads": 1, "learning_rate": 0.5, "patience": 4}  # fmt: skip
    seqgen.train(str(text_file), tmp_path / "whole", **options)
    steps: list[int] = []

    def event(happened: object) -> None:
        if isinstance(happened, Stepped):
            steps.append(happened.step)

    for at in (3, 7, 12, 20):  # between validations, and where one was due
        steps.clear()
        folder = tmp_path / f"stopped at {at}"
        watch = Watcher(event=event, stop=lambda at=at: steps[-1:] == [at])  # type: ignore[misc]
        seqgen.train(str(text_file), folder, watch=watch, **options)
        seqgen.train(str(text_file), folder, resume=True, **options)
        arrays, position = checkpoint.read_resume(folder)
        wanted, whole = checkpoint.read_resume(tmp_path / "whole")
        same = ("step", "best_loss", "best_step", "worse", "train_loss")
        assert {name: position[name] for name in same} == {name: whole[name] for name in same}
        assert all((arrays[name] == wanted[name]).all() for name in wanted)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_while_a_file_is_written_leaves_the_old_one_and_nothing_else(
    number: int, tmp_path: Path, signal_handlers: None
) -> None:
    signal.signal(number, signal.SIG_DFL)  # under nohup another one is inherited
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(SystemExit) as stopped, exit_on_signals(), atomic_write(tmp_path / "out") as stream:
        stream.write(b"new")
        os.kill(os.getpid(), number)
    assert stopped.value.code == 128 + number
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_in_the_callback_of_a_weak_reference_is_not_lost(number: int) -> None:
    """Python ignores all exceptions there, and prints them."""

    class Thing: ...

    thing = Thing()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), number))
    with pytest.raises((SystemExit, KeyboardInterrupt)), exit_on_signals():
        del thing
        time.sleep(20)
    assert reference() is None


def test_resume_removes_what_a_killed_overwrite_left(text_file: Path, tmp_path: Path) -> None:
    """The new model in the making or, if the two had just been swapped, the old one."""
    seqgen.train(str(text_file), tmp_path / "m", **TINY)
    left = checkpoint.staging(tmp_path / "m")
    left.mkdir()
    (left / "config.json").write_text("{}")
    seqgen.train([], tmp_path / "m", resume=True, threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_resume_keeps_the_corpus_that_an_undisturbed_run_keeps(text_file: Path, tmp_path: Path) -> None:
    """The cached ids, which it reads instead of the sources, are cut where the held-out part begins."""
    from seqgen.api.copies import load_copy_index

    seqgen.train(str(text_file), tmp_path / "whole", keep_corpus=True, **TINY)
    seqgen.train(str(text_file), tmp_path / "stopped", **TINY)
    seqgen.train([], tmp_path / "stopped", resume=True, keep_corpus=True, steps=4, threads=1)
    indices = [load_copy_index(checkpoint.load(tmp_path / name)) for name in ("whole", "stopped")]
    whole, resumed = (index.arrays() for index in indices if index is not None)
    assert all((whole[name] == resumed[name]).all() for name in whole)


def test_better_weights_remove_the_ranker_of_those_before(tmp_path: Path) -> None:
    (tmp_path / "talk.jsonl").write_text('["Hello!", "Good morning.", "Is it far?", "A mile."]\n' * 12)
    seqgen.train(str(tmp_path / "talk.jsonl"), tmp_path / "m", task="dialogue", **TINY)
    (tmp_path / "m" / checkpoint.RANKER).write_bytes(b"fitted to these weights")
    seqgen.train([], tmp_path / "m", resume=True, steps=12, threads=1)
    assert checkpoint.load(tmp_path / "m").config["metrics"]["best_step"] > 3
    assert not (tmp_path / "m" / checkpoint.RANKER).exists()
