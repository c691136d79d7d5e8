"""Dialogue benchmark: `python tests/benchmarks/dialogue.py DATA [--budget 20m] [-- flags of train]`.

DATA contains `dailydialog/dialogues_{train,validation,test}.txt`. The validation file chooses the best step; the test
file is read once, and once more without the conversations that are also in the training file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def seqgen(*arguments: object) -> str:
    """The standard output of the command."""
    command = [sys.executable, "-m", "seqgen", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--keep", type=Path, help="Folder of the model [default: a temporary one].")
    given, flags = parser.parse_known_args()  # what it doesn't know are flags of train
    folder = given.data / "dailydialog"
    train, valid, test = (folder / f"dialogues_{part}.txt" for part in ("train", "validation", "test"))
    with tempfile.TemporaryDirectory() as work:
        folder_of_run = Path(work)
        os.environ["SEQGEN_CACHE"] = f"{folder_of_run}/cache"
        known = {" ".join(line.split()) for line in train.read_text("utf-8").splitlines()}
        unknown = [line for line in test.read_text("utf-8").splitlines() if " ".join(line.split()) not in known]
        (folder_of_run / "unknown.txt").write_text("\n".join(unknown) + "\n", "utf-8")
        model = given.keep or folder_of_run / "model"
        began = time.monotonic()
        seqgen(
            "train", train, "--valid", valid, "--task", "dialogue", "-o", model, "--overwrite",
            "--budget", given.budget, *[flag for flag in flags if flag != "--"],
        )  # fmt: skip
        report: dict[str, Any] = {"seconds": round(time.monotonic() - began, 1)}
        for name, path in (("test", test), ("test without what is in train", folder_of_run / "unknown.txt")):
            found = json.loads(seqgen("evaluate", model, path, "--json"))
            report[name] = {key: found[key] for key in ("records", "questions", "metrics", "baselines")}
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
