"""Everything a person can get wrong: status 2, and one line that says what, where, and what to do. Never a traceback.

To add a row: a command line, and words that its one line must hold.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqgen.cli.main import main
from seqgen.config import SampleOptions, SearchOptions, TrainOptions, flag_name
from tests.helpers.running import COMMANDS, RefusedRun

TRAIN = "train text.txt -o new"  # the text is there, and `new` is not

TOO_LONG = "n" * 300  # no file system takes such a name

# What is typed (standard input is there, and empty), and what the error must say.
ROWS = [
    # ---- the command line itself ----
    ("compose model", "compose"),
    ("trian text.txt", "did you mean 'train'?"),
    ("--loud", "--loud before a command"),
    ("--quiet sample model", "flags of a command follow its name"),
    *[(f"{command} --loud", "--loud") for command in COMMANDS],
    *[
        (f"{command}", "MODEL")
        for command in COMMANDS
        if command not in ("compare", "read", "render", "corpora", "docs", "doctor")
    ],
    ("compare", "-o DIR is missing"),
    ("render", "give --format"),
    ("export model", "-o"),
    ("export model -o m.onnx --torch", "drop --torch"),
    ("push model tales", "OWNER/NAME"),
    ("push model me/tales --with-corpus", "no saved corpus"),
    ("serve missing", "missing"),
    ("serve model --host 0.0.0.0", "--api-key-file"),
    ("serve model --timeout soon", "soon"),
    ("inspect missing", "missing"),
    ("sample model --temprature 1", "--temperature"),
    ("sample model --length", "--length"),
    ("sample model text.txt", "text.txt"),
    # ---- train: what to read ----
    ("train -o new", "standard input is empty"),
    ("train - -o new", "standard input is empty"),
    ("train - - -o new", "given twice"),
    ("train '' -o new", "''"),
    ("train missing.txt -o new", "missing.txt"),
    ("train missing/text -o new", "missing/text"),
    ("train text.txt missing.txt -o new", "missing.txt"),
    ("train ~nobody-of-this-name/text.txt -o new", "~nobody"),
    (f"train {TOO_LONG}.txt -o new", "nnn"),
    ("train '*.nothing' -o new", "no file matches '*.nothing'"),
    ("train no-such-corpus -o new", "seqgen corpora"),
    ("train hf: -o new", "hf:OWNER/NAME"),
    ("train empty.txt -o new", "'empty.txt' is empty"),
    ("train empty-folder -o new", "'empty-folder' has no text"),
    ("train textless -o new", "'textless' has no text"),
    ("train one-character.txt -o new", "the corpus is too small"),
    ("train repeated.txt -o new", "the corpus is too small"),
    ("train short.txt -o new", "the corpus is too small"),
    ("train truncated.gz -o new", "truncated.gz"),
    (f"{TRAIN} --valid missing.txt", "missing.txt"),
    (f"{TRAIN} --valid empty.txt", "empty.txt"),
    # ---- train: where to write ----
    ("train text.txt", "-o MODEL is missing"),
    ("train text.txt -o ''", "-o MODEL is missing"),
    ("train text.txt -o text.txt", "is a file"),
    ("train text.txt -o other-things", "has files that are not a model"),
    ("train text.txt -o text.txt/new", "Not a directory"),
    ("train text.txt -o .", "name a folder"),
    ("train text.txt -o model", "--overwrite"),
    ("train text.txt -o ~nobody-of-this-name/new", "~nobody"),
    (f"train text.txt -o {TOO_LONG}", "too long"),
    # ---- train: how ----
    (f"{TRAIN} --budget soon", "90s, 10m or 2h"),
    (f"{TRAIN} --budget 0m", "more than zero"),
    (f"{TRAIN} --steps many", "--steps"),
    (f"{TRAIN} --steps 0", "--steps must be at least 1"),
    (f"{TRAIN} --epochs nan", "--epochs must be a finite number"),
    (f"{TRAIN} --epochs -1", "--epochs"),
    (f"{TRAIN} --steps 3 --epochs 2", "--epochs and --steps"),
    (f"{TRAIN} --steps 3 --budget 2m", "--budget and --steps"),
    (f"{TRAIN} --epochs 3 --budget 2m", "--budget and --epochs"),
    (f"{TRAIN} --dropout 1.5", "--dropout must be at most"),
    (f"{TRAIN} --val-fraction 2", "--val-fraction must be at most"),
    (f"{TRAIN} --vocab-size 400 --tokenizer char", "--tokenizer subword"),
    (f"{TRAIN} --activation relu --cell gru", "--cell rnn"),
    (f"{TRAIN} --task forecast", "text.txt"),
    (f"{TRAIN} --horizon 5", "no numeric column to forecast"),
    (f"{TRAIN} --task music", "not MIDI"),
    (f"{TRAIN} --grid 12", "not MIDI"),
    (f"{TRAIN} --task music --vocab-size 500", "--vocab-size"),
    (f"{TRAIN} --task music --tokenizer char", "--tokenizer char can't be used with music"),
    (f"{TRAIN} --task poetry", "'poetry'"),
    (f"{TRAIN} --device cuda", "--device cuda"),
    # ---- train: from another model, and going on ----
    (f"{TRAIN} --init-from missing", "no model 'missing'"),
    (f"{TRAIN} --init-from other-things", "config.json"),
    (f"{TRAIN} --init-from ~nobody-of-this-name/model", "~nobody"),
    (f"{TRAIN} --init-from model --rnn-size 64", "--rnn-size 64"),
    (f"{TRAIN} --init-from model --tokenizer byte", "--tokenizer byte"),
    (f"{TRAIN} --init-from model --vocab-size 500", "--vocab-size"),
    (f"{TRAIN} --init-from stocks", "damaged"),
    (f"{TRAIN} --init-from musical", "damaged"),
    ("train text.txt -o model --resume --overwrite", "--resume or --overwrite"),
    ("train short.txt -o model --resume", "not those that the run began with"),
    ("train -o model --resume --rnn-size 64", "--rnn-size can't change"),
    ("train text.txt -o unresumable --resume", "resume"),
    ("train -o orphan --resume", "gone.txt"),
    # ---- what is no model, in every command that takes one ----
    *[
        (f"{command} {model} {'' if command in ('sample', 'info') else 'text.txt'}", words)
        for command in ("sample", "score", "evaluate", "info", "tokenize")
        for model, words in (
            ("missing", "no model 'missing'"),
            ("text.txt", "it is a file"),
            ("other-things", "config.json"),
            ("newer", "upgrade seqgen"),
            ("cut-config", "config.json"),
            ("no-tokenizer", "tokenizer.json"),
            ("swapped-tokenizer", "tokenizer.json"),
        )
    ],
    *[
        (f"{command} {model} {'' if command == 'sample' else 'text.txt'}", "model.safetensors")
        for command in ("sample", "score", "evaluate")
        for model in ("no-weights", "cut-weights", "swapped-weights")
    ],
    ("info no-weights", "model.safetensors"),
    ("sample stocks", "damaged"),
    ("chat model", "a conversation needs one for dialogue"),
    ("chat nothing", "there is no model 'nothing'"),
    ("chat model --stop x", "--stop and --length are for `sample`"),
    ("score stocks text.txt", "damaged"),
    ("evaluate stocks text.txt", "damaged"),
    ("sample ~nobody-of-this-name/model", "~nobody"),
    (f"sample {TOO_LONG}", "nnn"),
    # ---- sample ----
    ("sample model --prompt a --prompt-file text.txt", "not both"),
    ("sample model --prompt-file missing.txt", "missing.txt"),
    ("sample model --prompt-file other-things", "other-things"),
    ("sample model --prompt-file truncated.gz", "truncated.gz"),
    ("sample model --stop ''", "--stop must not be empty"),
    ("sample model --length -1", "--length must be at least 0"),
    ("sample model --length 1.5", "--length"),
    ("sample model --length 1000000000000000", "--length must be at most"),
    ("sample model --temperature -1", "--temperature must be at least 0"),
    ("sample model -t nan", "--temperature must be a finite number"),
    ("sample model --top-p 0", "--top-p must be more than 0"),
    ("sample model --top-p 1.1", "--top-p must be at most 1"),
    ("sample model --top-k -1", "--top-k must be at least 0"),
    ("sample model --min-p 2", "--min-p must be at most 1"),
    ("sample model --seed -1", "--seed must be at least 0"),
    ("sample model --grammar 'a(b'", "'(' is never closed (character 2)"),
    ("sample model --grammar '(a{999}){999}'", "too large"),
    ("sample model --grammar 'a{9}' --length 8", "needs at least 9 characters"),
    ("sample model --ban ''", "--ban must not be empty"),
    ("sample model --logit-bias the", "--logit-bias must be a name and a number"),
    ("sample model --logit-bias 'the boat=1'", "'the boat' is not one token"),
    ("sample model --logit-bias '#123456=1'", "there is no such id; the last one is"),
    ("sample model --temperature-of pitch=1.2", "--temperature-of is for music; this is text"),
    ("sample model -n 0", "-n"),
    ("sample model --first -1", "--first"),
    ("sample model --engine steam", "--engine must be one of auto, cpu, torch"),
    ("sample model --device cuda", "--device cuda"),
    ("sample model --device abacus", "--device"),
    ("sample model --engine torch --device cuda", "--device cuda"),
    ("sample model --engine light --device cuda", "use --engine torch"),
    ("sample model --precision int8", "--precision must be one of fp32, bf16"),
    ("sample model --engine light --precision bf16", "use --engine torch"),
    ("sample model --best-of 2 --beam 2", "--beam or --best-of, not both"),
    ("sample model --state-in missing", "missing"),
    ("sample model --state-in text.txt", "header"),
    ("sample model --state-out other-things", "is a folder"),
    ("sample model --state-out text.txt/inside", "is not a writable folder"),
    ("sample model --replay text.txt", "not JSON"),
    ("sample model --replay missing.txt", "missing.txt"),
    ("sample --replay empty.txt", "has no receipt"),
    ("score model text.txt --colour mauve", "--colour must be one of"),
    ("score model text.txt --state-in missing", "missing"),
    ("score model text.txt --state-out other-things", "is a folder"),
    ("score model text.txt short.txt --state-out new-state", "after one record, and there are 2; score one"),
    # ---- score, evaluate, tokenize: what to read ----
    *[
        (f"{command} model {source}", words)
        for command in ("score", "evaluate", "tokenize")
        for source, words in (
            ("", "standard input is empty"),
            ("-", "standard input is empty"),
            ("- -", "given twice"),
            ("missing.txt", "missing.txt"),
            ("no-such-corpus", "seqgen corpora"),
            ("'*.nothing'", "*.nothing"),
            ("empty-folder", "'empty-folder' has no text"),
            ("textless", "'textless' has no text"),
            ("truncated.gz", "truncated.gz"),
        )
    ],
    ("score model empty.txt", "'empty.txt' is empty"),
    ("evaluate model empty.txt", "'empty.txt' is empty"),
    ("evaluate model one-character.txt", "one character"),
    ("tokenize words text.txt", "'words'"),
    *[(f"tokenize {kind} empty.txt", "'empty.txt' is empty") for kind in ("model", "char", "byte", "subword")],
    ("tokenize model text.txt --vocab-size 400", "--vocab-size is for the tokenizer subword"),
    ("tokenize subword text.txt --vocab-size 10", "--vocab-size"),
    # ---- where the data goes ----
    *[
        (f"{command} -o {place}", words)
        for command in ("sample model", "score model text.txt", "evaluate model text.txt", "tokenize model text.txt")
        for place, words in (("other-things", "is a folder"), ("text.txt/inside", "cannot write"))
    ],
    (f"sample model -o {TOO_LONG}", "too long"),
    # ---- corpora ----
    ("corpora no-such-corpus", "no-such-corpus"),
    ("corpora no-such-corpus --about", "no-such-corpus"),
    # ---- read, docs ----
    ("read missing.txt", "missing.txt"),
    ("docs muzic", "did you mean 'music'?"),
    ("docs ../../LICENSE", "`seqgen docs` lists them"),
]


def out_of_bounds(options: type, command: str) -> list[tuple[str, str]]:
    """A row for each bound that a field has: a new setting is tested without being named here."""
    rows = []
    for field in dataclasses.fields(options):
        rule, flag = field.metadata, flag_name(field.name)
        bad: list[Any] = ["nonsense"] if rule["choices"] else []
        bad += [rule["minimum"] - 1] if rule["minimum"] is not None else []
        bad += [rule["exclusive_minimum"]] if rule["exclusive_minimum"] is not None else []
        bad += [rule["maximum"] + 1] if rule["maximum"] is not None else []
        rows += [(f"{command} {flag} {value}", f"{flag} ") for value in bad]
    return rows


ROWS += [
    row
    for kind, command in ((TrainOptions, TRAIN), (SampleOptions, "sample model"), (SearchOptions, "sample model"))
    for row in out_of_bounds(kind, command)
    if row not in ROWS
]


@pytest.fixture(scope="session")
def place(text_file: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the table names."""
    place = tmp_path_factory.mktemp("errors")
    text = text_file.read_bytes()
    files = {
        "text.txt": b"Not what the model was trained on. " + text[:4000],
        "empty.txt": b"",
        "one-character.txt": b"a",
        "repeated.txt": b"a" * 5000,
        "short.txt": b"hello there",
        "truncated.gz": gzip.compress(os.urandom(5000))[:3000],
        "other-things/diary.txt": b"dear diary",
        "textless/picture.png": b"\x89PNG\r\n\x1a\n\0\0\0",
        "textless/nothing.txt": b"",
    }
    for name, data in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(data)
    (place / "empty-folder").mkdir()
    shutil.copytree(model_folder, place / "model")
    for name, damage in DAMAGED.items():
        damage(Path(shutil.copytree(model_folder, place / name)))
    return place


def change_config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        config = json.loads((model / "config.json").read_text())
        change(config)
        (model / "config.json").write_text(json.dumps(config))

    return damage


def cut(name: str) -> Callable[[Path], None]:
    return lambda model: os.truncate(model / name, (model / name).stat().st_size // 2)


def swap_weights(model: Path) -> None:
    """The same tensors, but made for another tokenizer."""
    from safetensors.numpy import load_file, save_file

    path = model / "model.safetensors"
    save_file(load_file(path), path, metadata={"identity": "another"})


DAMAGED: dict[str, Callable[[Path], Any]] = {
    "newer": change_config(lambda config: config.update(format=99)),
    "cut-config": cut("config.json"),
    "no-tokenizer": lambda model: (model / "tokenizer.json").unlink(),
    "swapped-tokenizer": lambda model: (model / "tokenizer.json").write_text('{"kind": "byte"}'),
    "no-weights": lambda model: (model / "model.safetensors").unlink(),
    "cut-weights": cut("model.safetensors"),
    "swapped-weights": swap_weights,
    "stocks": change_config(lambda config: config.update(task="forecast")),
    "musical": change_config(lambda config: config.update(task="music")),
    "unresumable": lambda model: shutil.rmtree(model / "resume"),
    "orphan": change_config(
        lambda config: config["data"].update(
            cache="gone", sources=[{**config["data"]["sources"][0], "name": "gone.txt"}]
        )
    ),
}


@pytest.mark.parametrize(("typed", "words"), ROWS, ids=[typed.replace(TOO_LONG, "TOO-LONG") for typed, _ in ROWS])
def test_main_bad_input_is_one_line_and_status_2(
    typed: str, words: str, place: Path, refused: RefusedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "cuda" in typed and "light" not in typed:
        import torch

        if torch.cuda.is_available():
            pytest.skip("here it is no mistake")
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    assert words in refused(shlex.split(typed))
    assert sorted(place.rglob("*")) == before, "a mistake leaves nothing behind"


def test_errors_table_names_every_command() -> None:
    from typer.main import get_group

    from seqgen.cli import main

    there = set(get_group(main.make_program(main.COMMANDS)).commands)  # type: ignore[attr-defined]
    assert there == set(COMMANDS)
    assert there <= {typed.split()[0] for typed, _ in ROWS}


def test_main_permission_denied_is_one_line(place: Path, tmp_path: Path, refused: RefusedRun) -> None:
    source, locked = tmp_path / "secret.txt", tmp_path / "locked"
    shutil.copy(place / "text.txt", source)
    locked.mkdir()
    source.chmod(0)
    locked.chmod(0o500)
    if os.access(source, os.R_OK):
        pytest.skip("the superuser may read and write anything")
    try:
        assert "Permission denied" in refused(["train", str(source), "-o", str(tmp_path / "new")])
        assert "Permission denied" in refused(["score", str(place / "model"), str(source)])
        assert "Permission denied" in refused(["train", str(place / "text.txt"), "-o", str(locked / "new")])
        assert "Permission denied" in refused(["sample", str(place / "model"), "-o", str(locked / "new")])
    finally:
        locked.chmod(0o700)


def test_main_control_characters_in_errors_are_replaced(refused: RefusedRun) -> None:
    line = refused(["train", "no\nsuch\x1b[31m file\x9b.txt", "-o", "new"])
    assert "\x1b" not in line
    assert "\x9b" not in line


def test_main_quiet_still_prints_errors(place: Path, refused: RefusedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for line in ("train missing.txt -o new --quiet", "sample missing -q", "score model missing.txt --quiet"):
        assert "missing" in refused(line.split())


def test_main_internal_error_is_one_line_and_status_1(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the trace is there for those who ask for it."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a\nfault")

    monkeypatch.delenv("SEQGEN_DEBUG", raising=False)
    monkeypatch.setattr("seqgen.checkpoint.load", fail)
    assert main(["sample", str(place / "model")]) == 1
    said = capfd.readouterr()
    assert said.err.count("\n") == 1
    assert "ZeroDivisionError" in said.err
    monkeypatch.setenv("SEQGEN_DEBUG", "1")
    assert main(["sample", str(place / "model")]) == 1
    assert "Traceback" in capfd.readouterr().err
