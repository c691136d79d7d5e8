"""A small model of each task, and commands run on them."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import seqgen

CORPORA = Path(__file__).resolve().parents[2] / "corpora"


TINY: dict[str, Any] = {"rnn_size": 8, "steps": 2, "batch_size": 4, "threads": 1, "precision": "fp32", "seed": 1}
MODELS = ("text", "subword", "dialogue", "music", "classify", "generative", "forecast")
SAMPLED = ("text", "music")  # models with a saved state and a receipt


def write_inputs(folder: Path) -> None:
    """Write the files that `COMMANDS` read, {f} in them."""
    (folder / "words.txt").write_text("The ferry came home.\nIt rained.\n")
    (folder / "talk.jsonl").write_text('["Hello!", "Good morning.", "Is it far?", "A mile."]\n' * 12)
    shutil.copy(CORPORA / "tunes" / "01-the-wren-in-the-gutter.mid", folder / "tune.mid")
    (folder / "texts.csv").write_bytes(b"".join((CORPORA / "reviews.csv").read_bytes().splitlines(keepends=True)[:40]))
    (folder / "table.csv").write_bytes(b"".join((CORPORA / "weather.csv").read_bytes().splitlines(keepends=True)[:200]))


def train_each(folder: Path) -> dict[str, Path]:
    """Train every model for two steps, in a folder of its name beside its sources, a receipt and a state."""
    write_inputs(folder)
    (folder / "prose.txt").write_text((CORPORA / "tidewater.txt").read_text("utf-8")[:9000], "utf-8")
    tunes = folder / "tunes"
    tunes.mkdir()
    for path in sorted((CORPORA / "tunes").iterdir())[:3]:
        shutil.copy(path, tunes)
    sources: dict[str, tuple[Path, dict[str, Any]]] = {
        "text": (folder / "prose.txt", {"embedding_size": 4, "seq_length": 16, "keep_corpus": True}),
        "subword": (folder / "prose.txt", {"embedding_size": 4, "tokenizer": "subword", "vocab_size": 320}),
        "dialogue": (folder / "talk.jsonl", {"task": "dialogue", "tokenizer": "byte", "embedding_size": 4}),
        "music": (tunes, {"embedding_size": 4, "seq_length": 16}),
        "classify": (folder / "texts.csv", {"tokenizer": "char", "embedding_size": 4, "pretrain": 0.0}),
        "generative": (folder / "texts.csv", {"generative": True, "tokenizer": "byte", "embedding_size": 4}),
        "forecast": (folder / "table.csv", {"horizon": 3, "look_back": 14}),
    }
    for name, (source, options) in sources.items():
        seqgen.train(str(source), folder / name, **{**TINY, **options})
    for name in SAMPLED:
        with open(folder / f"{name}.receipt", "wb") as receipt:
            receipt.write(
                run_command(["sample", str(folder / name), "--length", "2", "--temperature", "0.8", "--top-k", "9",
                         "--json", "-o", "-" if name == "text" else str(folder / "out.mid"),
                         "--state-out", str(folder / f"{name}.state")])
            )  # fmt: skip
    return {name: folder / name for name in MODELS}


# Command lines for each model: {m} is its folder, {f} the folder of the inputs.
COMMANDS: dict[str, list[str]] = {
    "text": ["sample {m} --length 3", "score {m} {f}/words.txt", "tokenize {m} {f}/words.txt", "info {m}",
             "evaluate {m} {f}/words.txt", "sample {m} --length 30 --max-copy 4 --json"],
    "subword": ["sample {m} --length 3 --prompt ab", "tokenize {m} {f}/words.txt", "info {m} --json"],
    "dialogue": ["chat {m}", "score {m} {f}/talk.jsonl", "sample {m} --length 3", "info {m}"],
    "music": ["sample {m} --length 1 -o {f}/out.mid", "score {m} {f}/tune.mid", "tokenize {m} {f}/tune.mid",
              "info {m}"],
    "classify": ["classify {m} {f}/words.txt", "info {m}", "evaluate {m} {f}/texts.csv --no-baselines",
                 "classify {m} {f}/words.txt --format jsonl"],
    "generative": ["classify {m} {f}/words.txt", "sample {m} --label positive --length 3", "info {m}"],
    "forecast": ["forecast {m} {f}/table.csv", "info {m}", "evaluate {m} {f}/table.csv",
                 "forecast {m} {f}/table.csv --backtest 2 --json"],
}  # fmt: skip


class CommandRefusedError(Exception):
    """A command ended with status 2 and an error line."""


def run_command(line: Sequence[str]) -> bytes:
    """Run a command in this process and return its output.

    Raises `CommandRefusedError` for status 2, and `AssertionError` for any other than 0.
    """
    from seqgen.cli.main import main

    out, err, stdin = io.TextIOWrapper(io.BytesIO()), io.StringIO(), io.TextIOWrapper(io.BytesIO(b"Hello\n"))
    before = sys.stdin
    sys.stdin = stdin
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(list(line))
    finally:
        sys.stdin = before
    messages = err.getvalue()
    assert status in (0, 2), f"{' '.join(line)}: status {status}: {messages[-600:]}"
    assert not any(letter < " " and letter != "\n" for letter in messages), f"{' '.join(line)}: {messages!r}"
    if status == 2:
        assert messages.count("seqgen: error: ") >= 1 and messages.splitlines()[-1].startswith("seqgen: error: "), (
            messages
        )
        raise CommandRefusedError(messages)
    return out.buffer.getvalue()  # type: ignore[attr-defined]
