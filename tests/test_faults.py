"""Bad days in small: a few dozen of those that `benchmarks/faults.py` has hundreds of, and a short life in one process.

Every moment is a training in a process of its own that is really killed, starved or misled, and has to go on as if
nothing had been. A failure names the seed that shows it again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import seqgen
from seqgen import checkpoint

BENCHMARKS = Path(__file__).parent / "benchmarks"


def told(script: str, *arguments: str) -> Any:
    """What a script says in JSON."""
    line = [sys.executable, str(BENCHMARKS / script), *arguments, "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=500, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_bad_days() -> None:
    """Two of each class, other moments every day."""
    seed = str(int(time.time()) // 86_400)
    found = told("faults.py", "--kinds", "text,forecast", "--count", "30", "--seed", seed)
    assert found["wrong"] == []
    assert sum(found["survived"].values()) == sum(found["tried"].values()) >= 24  # three classes need a right to mount


@pytest.mark.slow
def test_a_long_life_takes_no_more_and_more() -> None:
    found = told("soak.py", "--trainings", "14", "--samples", "300")
    for first, last in found.values():
        assert last["descriptors"] == first["descriptors"]
        assert last["threads"] == first["threads"]
        assert last["memory"] < first["memory"] + 25  # megabytes


# Ends this process as Ctrl-C would, at the moment when a module begins to be imported.
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
def test_a_signal_while_the_program_is_still_being_read_is_no_traceback(
    module: str, text_file: Path, tmp_path: Path
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        line = [sys.executable, "-c", AT_IMPORT, "train", str(text_file), "-o", str(tmp_path / "m")]
        env = {**os.environ, "AT": module, "NUMBER": str(int(number))}
        done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, env=env, timeout=100)
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode in (128 + number, -number)
        assert list(tmp_path.iterdir()) == []


def test_a_stop_does_not_change_how_the_run_goes_on(text_file: Path, tmp_path: Path) -> None:
    """The validation that a stop asks for does not count: neither for what is best nor for patience."""
    from seqgen.api.train.run import Watcher
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
