"""Made-up prose, and types and constants for tests that run commands."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seqgen

WORDS = "the old lamp on the quay was lit by the boy and the boat came home late in the cold rain ".split()  # noqa: SIM905


def prose(sentences: int = 400, seed: int = 1) -> str:
    """Made-up English of a small grammar, which a small network learns in seconds."""
    rng = random.Random(seed)
    lines = []
    for _ in range(sentences):
        words = [rng.choice(WORDS) for _ in range(rng.randint(4, 9))]
        lines.append(" ".join(words).capitalize() + rng.choice([".", ".", "!", "?"]))
    return "\n".join(lines) + "\n"


MadeOnce = Callable[[str, Callable[[Path], object]], Path]
Command = Callable[..., "subprocess.CompletedProcess[bytes]"]


@dataclass(frozen=True)
class Result:
    """Exit status and output of a command run in this process."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "surrogateescape")  # a model may write invalid UTF-8

    @property
    def lines(self) -> list[str]:
        """Lines of the output. Asserts that each ends with a line feed."""
        *lines, rest = self.text.split("\n")
        assert rest == ""
        return lines

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def records(self) -> list[Any]:
        """The objects of a JSONL output."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Result]
RefusedRun = Callable[[list[str]], str]


# Flags of the shortest training.
TINY_FLAGS = ["--rnn-size", "16", "--steps", "3", "--threads", "1", "--precision", "fp32"]

COMMANDS = (
    "train", "sample", "chat", "classify", "forecast", "score", "evaluate", "compare", "info", "inspect",
    "export", "push", "serve", "read", "tokenize", "render", "corpora", "docs", "doctor",
)  # fmt: skip

MIXED_BYTES = "灯塔 🏮 café\t".encode() + b"\xff\xfe\x80 \xe4\xb8"  # several scripts, a tab, and invalid UTF-8


def is_close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6)


def weight_bytes(model: Path) -> dict[str, bytes]:
    return {name: weight.tobytes() for name, weight in seqgen.load(model).checkpoint.weights().items()}


def imported_packages(code: str, *arguments: object) -> set[str]:
    """Top-level packages loaded by `code` in a process of its own."""
    after = "\nimport sys\nsys.stderr.write('\\n' + ' '.join({name.split('.')[0] for name in sys.modules}))"
    process = subprocess.run(
        [sys.executable, "-c", code + after, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    return set(process.stderr.splitlines()[-1].split())
