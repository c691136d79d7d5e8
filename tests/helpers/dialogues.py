"""Twelve conversations, and a tiny model that knows them by heart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.api.model import Model
from seqgen.generation.engines.base import Engine
from seqgen.tokenizers import Ids
from seqgen.tokenizers.dialogue import DialogueCodec

ReadIds = tuple[int, ...]


def conversation_ids(codec: DialogueCodec, turns: Sequence[tuple[int, str]]) -> ReadIds:
    """Ids of a whole conversation, `end` first."""
    ids = codec.encode_conversation((speaker, text.encode("utf-8", "surrogateescape")) for speaker, text in turns)
    return (codec.end, *map(int, ids))


def advance(engine: Engine, state: Any, last: int, turn: Ids) -> tuple[Any, int]:
    """The state after a turn, and the id still to be read."""
    return engine.read(np.append(last, turn[:-1]), state), int(turn[-1])


THINGS = "lamp boat door hat coat dog cup map key hen fox oar".split()  # noqa: SIM905

PLACES = "quay barn well loft mill yard shed pond cave hill inn lake".split()  # noqa: SIM905

PEOPLE = "Ann Bob Cy Dot Eve Flo Gus Hal Ida Jon Kit Lee".split()  # noqa: SIM905


def known_conversation(number: int) -> list[tuple[int, str]]:
    thing, location, person = THINGS[number], PLACES[number], PEOPLE[number]
    return [
        (0, f"where is the {thing}?"),
        (1, f"the {thing} is in the {location}."),
        (0, "who has it?"),
        (1, f"{person}, by the {location}."),
    ]


KNOWN = [known_conversation(number) for number in range(12)]


def to_messages(turns: Sequence[tuple[int, str]]) -> str:
    roles = ("user", "assistant")
    return json.dumps({"messages": [{"role": roles[speaker], "content": text} for speaker, text in turns]})


# Enough training to know nearly all of them.
FLAGS = [
    "--tokenizer", "char", "--rnn-size", "64", "--embedding-size", "16", "--batch-size", "4", "--seq-length", "64",
    "--steps", "320", "--learning-rate", "0.02", "--dropout", "0", "--val-fraction", "0",
]  # fmt: skip


def train_known(base: Path) -> Path:
    """Train a character LSTM on the twelve conversations, in a folder of `base`."""
    source, folder = base / "dialogue-known.jsonl", base / "dialogue-model"
    source.write_text("".join(to_messages(KNOWN[number % 12]) + "\n" for number in range(60)), encoding="utf-8")
    process = subprocess.run(
        [
            sys.executable, "-m", "seqgen", "train", str(source), "-o", str(folder), *FLAGS, "--threads", "1",
            "--precision", "fp32", "--seed", "1",
        ],
        env={**os.environ, "SEQGEN_CACHE": str(base / "dialogue-cache"), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return folder


def codec_of(model: Model) -> DialogueCodec:
    assert isinstance(model.codec, DialogueCodec)
    return model.codec
