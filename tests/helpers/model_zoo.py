"""A small model of each task, and commands run on them."""

from __future__ import annotations

import contextlib
import io
import json
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


def write_sources(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Write what the models learn; return the source and the settings of each."""
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
    return {name: (source, {**TINY, **options}) for name, (source, options) in sources.items()}


def train_each(folder: Path) -> dict[str, Path]:
    """Train every model for two steps, in a folder of its name beside its sources, a receipt and a state."""
    for name, (source, options) in write_sources(folder).items():
        seqgen.train(str(source), folder / name, **options)
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


# Further uses of an untrusted model: looked into, exported, pushed and trained further. {p} is a folder to write to.
_TINY = "--overwrite --quiet --steps 2 --rnn-size 8 --batch-size 4 --threads 1 --precision fp32"
_AGAIN = "--init-from {m} -o {p}/again --overwrite --quiet --steps 2 --batch-size 4 --threads 1 --precision fp32"
USES: dict[str, list[str]] = {
    "text": ["inspect {m} {f}/prose.txt --json", f"train {{f}}/prose.txt {_AGAIN}", "export {m} -o {p}/a.onnx",
             "evaluate {m} {f}/words.txt --adaptive --context-cache 9 --json", "sample {m} --length 4 --grammar [a-z]+",
             "inspect {m} {f}/prose.txt --what gradient --json", "export {m} --torch -o {p}/a.safetensors"],
    "subword": ["export {m} -o {p}/a.onnx", "sample {m} --length 9 --ban the -n 2 --json",
                "score {m} {f}/words.txt --lines"],
    "dialogue": ["inspect {m} {f}/talk.jsonl --json", f"train {{f}}/talk.jsonl {_AGAIN}", "push {m} a/b --dry-run",
                 "evaluate {m} {f}/talk.jsonl --replies 2 --candidates 2 --json"],
    "music": ["inspect {m} {f}/tune.mid --json", f"train {{f}}/tunes {_AGAIN}", "export {m} -o {p}/a.onnx",
              "evaluate {m} {f}/tune.mid --pieces 1 --length 1 --json",
              "sample {m} --primer {f}/tune.mid --length 1 -o {p}/a.wav"],
    "classify": ["inspect {m} {f}/texts.csv --json", f"train {{f}}/texts.csv {_AGAIN}", "push {m} a/b --dry-run",
                 "classify {m} {f}/texts.csv --explain --format jsonl", "classify {m} {f}/texts.csv --format csv"],
    "generative": [f"train {{f}}/texts.csv --generative {_AGAIN}", "evaluate {m} {f}/texts.csv --json"],
    "forecast": ["inspect {m} {f}/table.csv --json", f"train {{f}}/table.csv {_AGAIN}", "push {m} a/b --dry-run",
                 "forecast {m} {f}/table.csv --horizon 9 --json", "evaluate {m} {f}/table.csv --json"],
}  # fmt: skip

# Command lines on an untrusted source, {x}, with a good model or with none: by name, a model, what examples of such
# sources are (a data reader, and a file that the model was trained on), their names, and the lines, with " && " between
# those that must work if the first did.
SOURCE_COMMANDS: dict[str, tuple[str, tuple[str, str], tuple[str, ...], list[str]]] = {
    "text sources": ("text", ("text", "prose.txt"), ("a.txt", "a.zip"), [
        "score {m} {x} --per-token", "score {m} {x} --lines", "evaluate {m} {x} --json", "tokenize {m} {x} --check",
        "sample {m} --prompt-file {x} --length 3", "inspect {m} {x} --top 2 --json", "tokenize subword {x} --pieces",
        "inspect {m} {x} --what saliency --json", "inspect {m} {x} --html {p}/a.html", "read {x} --json",
        "score {m} {x} --context-cache 20", "score {m} {x} --state-out {p}/a && sample {m} --state-in {p}/a --length 2",
    ]),
    "texts to learn": ("text", ("text", "prose.txt"), ("a.txt", "a.tar", "a.csv"), [
        f"train {{x}} --task text -o {{p}}/m {_TINY} && sample {{p}}/m --length 2 && info {{p}}/m --json",
        f"train {{x}} --task text --tokenizer subword -o {{p}}/m {_TINY} && score {{p}}/m {{f}}/words.txt",
        f"train {{f}}/prose.txt --valid {{x}} -o {{p}}/m {_TINY} --keep-corpus",
        "train {x} --task text -o {p}/m --plan"]),
    "conversations to score": ("dialogue", ("conversations", "talk.jsonl"), ("a.jsonl", "a.txt", "a.json", "a.csv"), [
        "score {m} {x}", "evaluate {m} {x} --json --no-baselines", "tokenize {m} {x} --check", "read {x} --json"]),
    "conversations to learn": ("dialogue", ("conversations", "talk.jsonl"), ("a.jsonl", "a.txt", "a.json", "a.tsv"), [
        f"train {{x}} --task dialogue --embedding-size 4 -o {{p}}/m {_TINY} && chat {{p}}/m && info {{p}}/m --json"]),
    "pieces": ("music", ("midi", "tune.mid"), ("a.mid",), [
        "score {m} {x} --per-token", "tokenize {m} {x} --check", "evaluate {m} {x} --json --pieces 1 --length 1",
        "sample {m} --primer {x} --length 1 -o {p}/a.mid && score {m} {p}/a.mid", "render {x} -o {p}/a.html",
        "render {x} -o {p}/a.musicxml && tokenize {m} {p}/a.musicxml", "render {x} -o {p}/a.abc && read {p}/a.abc",
        "render {x} -o {p}/a.wav --tempo 1000", "render {x} -o {p}/a.png", "read {x} --json",
        "render {x} -o {p}/a.mid && score {m} {p}/a.mid", "inspect {m} {x} --json",
        "tokenize {m} {x} --plot {p}/a.png"]),
    "scores": ("music", ("notated music", "tune.mid"), ("a.musicxml", "a.abc"), [
        "score {m} {x}", "sample {m} --primer {x} --length 1 -o {p}/a.mid && score {m} {p}/a.mid",
        "render {x} -o {p}/a.musicxml && tokenize {m} {p}/a.musicxml", "render {x} -o {p}/a.abc && read {p}/a.abc",
        "render {x} -o {p}/a.mid && score {m} {p}/a.mid", "render {x} -o {p}/a.wav --tempo 1000", "read {x} --json"]),
    "pieces to learn": ("music", ("midi", "tune.mid"), ("a.mid",), [
        f"train {{x}} --embedding-size 4 -o {{p}}/m {_TINY} && sample {{p}}/m --length 1 -o {{p}}/a.mid"]),
    "texts to label": ("classify", ("labelled", "texts.csv"), ("a.csv", "a.jsonl", "a.txt", "a.json"), [
        "classify {m} {x}", "classify {m} {x} --format jsonl -k 2", "classify {m} {x} --format csv", "read {x} --json",
        "classify {m} {x} --explain --format jsonl", "evaluate {m} {x} --json", "evaluate {m} {x} --errors 3"]),
    "labelled texts to learn": ("classify", ("labelled", "texts.csv"), ("a.csv", "a.jsonl", "a.txt", "a.tsv"), [
        f"train {{x}} --task classify --tokenizer byte --embedding-size 4 -o {{p}}/m {_TINY} && classify {{p}}/m {{x}}",
        f"train {{x}} --task classify --generative --tokenizer byte --embedding-size 4 -o {{p}}/m {_TINY}",
        f"train {{f}}/texts.csv --unlabelled {{x}} --tokenizer byte --embedding-size 4 -o {{p}}/m {_TINY}"]),
    "tables to forecast": ("forecast", ("series", "table.csv"), ("a.csv", "a.tsv", "a.xlsx", "a.parquet"), [
        "forecast {m} {x}", "forecast {m} {x} --json", "forecast {m} {x} --backtest 2 --json", "read {x} --json",
        "evaluate {m} {x} --json", "forecast {m} {x} --horizon 9 --plot {p}/a.png", "inspect {m} {x} --json"]),
    "tables to learn": ("forecast", ("series", "table.csv"), ("a.csv", "a.tsv", "a.xlsx", "a.parquet"), [
        f"train {{x}} --task forecast --look-back 4 --horizon 2 -o {{p}}/m {_TINY} && forecast {{p}}/m {{x}}",
        f"train {{x}} --task forecast --split-rows 0.6,0.2 --calendar -o {{p}}/m {_TINY}",
        f"train {{x}} --task forecast --mixture --scaling minmax -o {{p}}/m {_TINY} && evaluate {{p}}/m {{x}} --json",
        "train {x} --task forecast -o {p}/m --plan"]),
    "any source": ("text", ("any", "table.csv"), ("a.csv", "a.txt", "a.json", "a.zip", "a"), [
        "read {x} --json", "train {x} -o {p}/m --plan"]),
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
    messages, printed = err.getvalue(), out.buffer.getvalue()  # type: ignore[attr-defined]
    assert status in (0, 2), f"{' '.join(line)}: status {status}: {messages[-600:]}"
    assert not any(letter < " " and letter != "\n" for letter in messages), f"{' '.join(line)}: {messages!r}"
    if status == 2:
        assert messages.count("seqgen: error: ") >= 1 and messages.splitlines()[-1].startswith("seqgen: error: "), (
            messages
        )
        raise CommandRefusedError(messages)
    if "--json" in line or "jsonl" in line:
        check_json(printed)
    return printed


def check_json(data: bytes) -> None:
    """Refuse what isn't JSON of the standard, one value or one a line: NaN and infinity are none."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON: {data[:300]!r}")

    try:
        json.loads(data, parse_constant=refuse)
    except ValueError:
        for each in data.splitlines():
            json.loads(each, parse_constant=refuse)
