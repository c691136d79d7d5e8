"""Made-up prose, and commands run in this process or in their own."""

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
    """Made-up English that a small network learns in seconds: a fixed little grammar, not random letters."""
    chance = random.Random(seed)
    lines = []
    for _ in range(sentences):
        words = [chance.choice(WORDS) for _ in range(chance.randint(4, 9))]
        lines.append(" ".join(words).capitalize() + chance.choice([".", ".", "!", "?"]))
    return "\n".join(lines) + "\n"


Command = Callable[..., "subprocess.CompletedProcess[bytes]"]


@dataclass(frozen=True)
class Result:
    """What a command in this process came to."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "surrogateescape")  # a model may write bytes that are no characters

    @property
    def lines(self) -> list[str]:
        """Of the output, each of which has to be ended by a line feed."""
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
Refused = Callable[[list[str]], str]


# A training that ends in a moment: what is learnt does not matter here.
TINY = ["--rnn-size", "16", "--steps", "3", "--threads", "1", "--precision", "fp32"]

COMMANDS = ("train", "sample", "chat", "classify", "forecast", "score", "evaluate", "info", "tokenize", "corpora")

STRANGE = "灯塔 🏮 café\t".encode() + b"\xff\xfe\x80 \xe4\xb8"  # other scripts, and bytes that are no UTF-8


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6)


def weights(model: Path) -> dict[str, bytes]:
    return {name: weight.tobytes() for name, weight in seqgen.load(model).checkpoint.weights().items()}


def imported(code: str, *arguments: object) -> set[str]:
    """The packages that are there at the end of `code`, run in a process of its own."""
    after = "\nimport sys\nsys.stderr.write('\\n' + ' '.join({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + after, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())
