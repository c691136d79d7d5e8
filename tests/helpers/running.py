"""What tests share: made-up prose, and how a command is run."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
