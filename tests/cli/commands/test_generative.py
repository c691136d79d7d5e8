"""Commands of a generative classifier: train, classify, sample, info."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen.config import GenerativeConfig, from_json
from tests.helpers.running import Run

TINY = ["--rnn-size", "24", "--batch-size", "8", "--threads", "1", "--precision", "fp32", "--tokenizer", "char"]

WORDS = {"sun": ["light", "warm", "noon", "gold"], "moon": ["dim", "cold", "night", "pale"]}


def table(path: Path, count: int = 120, seed: int = 0) -> Path:
    """Texts of three words of their label and one that any may have."""
    chance = random.Random(seed)
    rows = ["text,label"]
    for number in range(count):
        label = list(WORDS)[number % 2]
        words = [chance.choice(WORDS[label]) for _ in range(3)]
        words.insert(chance.randrange(4), chance.choice(["sky", "sea"]))
        rows.append(f"{' '.join(words)},{label}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("generative")
    seqgen.train(
        str(table(folder / "sky.csv")), folder / "sky", generative=True, tokenizer="char", steps=500, rnn_size=40,
        batch_size=8, threads=1, precision="fp32",
    )  # fmt: skip
    yield folder / "sky"


# ---- the command ----


def test_inspect_of_a_generative_classifier_names_the_label_that_is_read_first(model: Path, run: Run) -> None:
    found = run("inspect", model, "-", "--unit", "0", stdin=b"warm gold\n").lines
    assert [line.split(",")[1] for line in found[1:4]] == ["sun: ", "w", "a"]


def test_it_sorts_what_it_has_not_seen(model: Path, run: Run, tmp_path: Path) -> None:
    result = run("evaluate", model, table(tmp_path / "new.csv", 100, seed=9), "--json", "--no-baselines").json
    assert result["metrics"]["accuracy"] > 0.9
    lines = run("classify", model, "-", stdin=b"pale cold night sea\n\nwarm gold noon sky\n\xff\xfe\n").lines
    assert [line.split("\t")[0] for line in (lines[0], lines[2])] == ["moon", "sun"]
    assert lines[1].split("\t")[1] == "0.5000"  # nothing was said
    assert len(lines) == 4


def test_it_writes_texts_of_a_label(model: Path, run: Run) -> None:
    for label, own in WORDS.items():
        samples = run("sample", model, "--label", label, "-n", "12", "--json", "-t", "0.5", "-l", "60").records
        text = " ".join(sample["text"] for sample in samples)
        other = [word for words in WORDS.values() if words is not own for word in words]
        assert sum(map(text.count, own)) > 4 * sum(map(text.count, other))
        assert sum(sample["finish_reason"] == "end" for sample in samples) > 6
    light = run("sample", model, "--label", "sun", "--prompt", "no", "--seed", "3", "--exact").text
    assert light.startswith("no")
    assert run("sample", model, "--label", "sun", "-p", "no", "--seed", "3", "--engine", "torch").text == light
    again = seqgen.load(model, exact=True).sample("no", label="sun", seed=3)[0]
    assert "no" + again.text == light


def test_its_page_says_what_it_is(model: Path, run: Run) -> None:
    page = run("info", model).text
    assert "Bayes" in page
    assert "108 texts to train on, 12 held out" in page
    assert 0 <= run("info", model, "--json").json["metrics"]["log_loss"] < 0.7


def test_it_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    data = table(tmp_path / "sky.csv", 60)
    run("train", data, "--generative", "-o", tmp_path / "whole", "--steps", "12", *TINY)
    run("train", data, "--generative", "-o", tmp_path / "parts", "--steps", "12", *TINY)
    run("train", "--resume", "-o", tmp_path / "parts", "--steps", "20")
    run("train", "--resume", "-o", tmp_path / "whole", "--steps", "20")
    one, other = (seqgen.load(tmp_path / name).checkpoint.weights() for name in ("whole", "parts"))
    for name, weight in one.items():
        np.testing.assert_array_equal(weight, other[name])


def test_it_starts_from_a_model_for_text(run: Run, tmp_path: Path) -> None:
    (tmp_path / "talk.txt").write_text("light and dim, warm and cold, noon and night\n" * 40)
    run("train", tmp_path / "talk.txt", "-o", tmp_path / "text", "--steps", "5", *TINY)
    data = table(tmp_path / "sky.csv", 60)
    run("train", data, "--task", "classify", "--generative", "--init-from", tmp_path / "text", "-o", tmp_path / "both",
        "--steps", "1", "--threads", "1", "--precision", "fp32", "--learning-rate", "1e-9")  # fmt: skip
    old, new = (seqgen.load(tmp_path / name) for name in ("text", "both"))
    before, after = old.checkpoint.weights(), new.checkpoint.weights()
    rows = len(before["embedding"])
    for name in ("embedding", "output_weight", "output_bias"):
        np.testing.assert_allclose(after[name][2 : 2 + rows], before[name], atol=1e-6)
    np.testing.assert_allclose(after["layers.0.recurrent_weight"], before["layers.0.recurrent_weight"], atol=1e-6)
    letter = old.codec.encode(b"l")[0]
    assert new.codec.encode(b"l")[0] == letter + 2
    run("train", data, "--generative", "--init-from", tmp_path / "both", "-o", tmp_path / "more", "--steps", "1")
    said = run("train", data, "--init-from", tmp_path / "both", "-o", tmp_path / "not", "--steps", "1", status=2).err
    assert "from a generative model; add --generative" in said
    other = tmp_path / "other.csv"
    other.write_text("text,label\n" + "".join(f"word {n},{'xyz'[n % 3]}\n" for n in range(30)))
    said = run("train", other, "--generative", "--init-from", tmp_path / "both", "-o", tmp_path / "no", status=2).err
    assert "generative one with the same labels" in said


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--ngrams", "2"], "--ngrams cannot be used with --generative"),
        (["--direction", "forward"], "--direction cannot be used with --generative"),
        (["--balance"], "--balance cannot be used with --generative"),
        (["--label-smoothing", "0.1"], "--label-smoothing cannot be used with --generative"),
        (["--pretrain", "0.5"], "--pretrain cannot be used with --generative"),
    ],
)
def test_what_does_not_go_with_it(flags: list[str], line: str, run: Run, tmp_path: Path) -> None:
    said = run("train", table(tmp_path / "a.csv"), "--generative", *flags, "-o", tmp_path / "m", status=2).err
    assert line in said
    assert said.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_texts_of_several_labels_are_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("".join(f"__label__a __label__b words {n}\n__label__b more {n}\n" for n in range(30)))
    said = run("train", path, "--task", "classify", "--generative", "-o", tmp_path / "m", status=2).err
    assert "--generative needs texts with one label each" in said


def test_labels_that_can_not_be_written(model: Path, model_folder: Path, run: Run, tmp_path: Path) -> None:
    assert "--label must be one of this model's labels: moon, sun" in run("sample", model, status=2).err
    assert "not 'star'" in run("sample", model, "--label", "star", status=2).err
    assert "for models trained with --generative" in run("sample", model_folder, "--label", "sun", status=2).err
    run("train", table(tmp_path / "a.csv"), "--task", "classify", "-o", tmp_path / "plain", "--steps", "1",
        "--rnn-size", "8", "--threads", "1")  # fmt: skip
    said = run("sample", tmp_path / "plain", status=2).err
    assert "`train --generative` makes one that does both" in said


def test_a_folder_whose_labels_do_not_fit_is_refused(model: Path, tmp_path: Path, run: Run) -> None:
    import shutil

    from seqgen.checkpoint import identity

    shutil.copytree(model, tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "config.json").read_text())
    config["network"]["labels"] = ["a", "b", "c"]
    files = {"tokenizer.json": (tmp_path / "odd" / "tokenizer.json").read_bytes()}
    config["identity"] = identity(from_json(GenerativeConfig, config["network"]), files)
    (tmp_path / "odd" / "config.json").write_text(json.dumps(config))
    assert "it has 2 labels" in run("classify", tmp_path / "odd", "-", stdin=b"x\n", status=2).err
